from concurrent.futures import ThreadPoolExecutor
from unittest.mock import AsyncMock, patch

import pytest

from tests.conftest import Serve
from tests.support.broker import ServedBroker, locked, until
from tests.support.clients import Wire
from tests.support.documents import POLICIES, agents_document, broker_document
from tests.support.notes import NotesService

READ = ("notes_notes_read", {"id": "n1"})


def loaded(broker: ServedBroker, before: str) -> None:
    """Wait until another set is in force."""
    until(lambda: broker.parts.documents.current.digest != before)


def test_a_change_on_disk_is_in_force_and_on_record_without_a_restart(serve: Serve) -> None:
    """Issue 2, Documents: changes on disk load without restart; loading documents is a record."""
    broker = serve()
    before = broker.parts.documents.current.digest

    broker.written.put("policies.yaml", POLICIES.replace("deny: [purge]", "deny: [purge, write]"))
    loaded(broker, before)

    assert Wire(broker).call("notes_notes_write", {"id": "x"}).code == "access_denied"
    (record,) = broker.records(kind="documents_loaded")
    assert record["changed"] == ["policies.yaml"]
    assert record["documents"]["sha256"] == broker.parts.documents.current.digest


def test_calls_go_on_while_documents_change(serve: Serve, notes_service: NotesService) -> None:
    """architecture.md, The documents: each call uses one snapshot throughout, and no call is lost to a change."""
    broker = serve()
    with ThreadPoolExecutor(1) as pool:
        with notes_service.holding():
            running = pool.submit(Wire(broker).call, *READ)
            notes_service.arrived.get(timeout=60)
            before = broker.parts.documents.current.digest
            broker.written.put("policies.yaml", POLICIES.partition("---\n")[2])
            loaded(broker, before)
            refused = Wire(broker).call(*READ)
        answered = running.result(60)

    assert (answered.code, refused.code) == (None, "unknown_tool")
    stories = [broker.story(answer.call_id)["requested"]["documents"] for answer in (answered, refused)]
    assert stories == [before, broker.parts.documents.current.digest]


def test_a_set_with_a_mistake_changes_nothing_and_is_on_record(serve: Serve) -> None:
    """architecture.md, The documents: a set with one broken document is refused, and the set in force stays."""
    broker = serve()

    broker.written.put("policies.yaml", POLICIES.replace("notes.notes", "notes.typo"))
    until(lambda: broker.records(kind="documents_refused"))

    assert Wire(broker).call(*READ).code is None
    assert broker.operators.get("/v1/status")["documents"]["problems"]


@pytest.mark.slow
def test_a_set_that_cannot_be_recorded_is_not_in_force(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """audit.md C5: what cannot be recorded is not done; it is done as soon as it can be."""
    monkeypatch.setattr("broker.store._BUSY_SECONDS", 0.05)
    broker = serve()
    before = broker.parts.documents.current.digest

    with locked(broker.written.directory / "data/broker.db"):
        broker.written.put("agents.yaml", agents_document(analyst="suspended"))
        until(lambda: broker.parts.store.commits.failing)
        unchanged = broker.parts.documents.current.digest
    loaded(broker, before)

    assert unchanged == before
    assert broker.records(kind="documents_loaded")


def test_a_changed_broker_document_waits_for_a_restart(serve: Serve) -> None:
    """architecture.md, The documents: the Broker document's changes need a restart."""
    broker = serve()
    before = broker.parts.documents.current

    broker.written.put("broker.yaml", broker_document(caps={"argument_bytes": 64}))
    loaded(broker, before.digest)

    assert broker.records(kind="documents_loaded")[0]["restart_needed"] is True
    assert broker.parts.documents.current.broker == before.broker
    assert Wire(broker).call(READ[0], {"id": "x" * 1000}).code is None


@pytest.mark.slow
def test_a_background_task_that_fails_begins_again(serve: Serve) -> None:
    """Calls do not depend on what goes on beside them, and that does not end for one failure."""
    broker = serve()
    before = broker.parts.documents.current.digest
    documents = broker.parts.documents
    failing = AsyncMock(side_effect=RuntimeError("a directory vanished"))

    with patch.object(documents, "reload", failing):
        broker.written.put("policies.yaml", POLICIES.replace("deny: [purge]", "deny: [purge, write]"))
        until(lambda: failing.await_count)
    loaded(broker, before)

    assert Wire(broker).call(*READ).code is None


def test_a_file_may_have_any_name(serve: Serve) -> None:
    """A name in nobody's alphabet must not keep a suspension from coming into force."""
    broker = serve()
    before = broker.parts.documents.current.digest

    broker.written.put("größe.yaml", agents_document(analyst="suspended"))
    (broker.written.directory / "agents.yaml").unlink()
    loaded(broker, before)

    assert Wire(broker).call(*READ).code == "agent_suspended"
    assert {"agents.yaml", "größe.yaml"} <= set(broker.records(kind="documents_loaded")[-1]["changed"])


def test_as_many_mistakes_as_have_their_place_are_on_record(serve: Serve) -> None:
    """audit/record.py: a record has 65,535 bytes at most, however much is wrong."""
    broker = serve()
    mistakes = "".join(f"  {'x' * 900}{number}: 1\n" for number in range(100))

    broker.written.put("policies.yaml", POLICIES.rstrip() + "\n" + mistakes)
    until(lambda: broker.records(kind="documents_refused"))

    record = broker.records(kind="documents_refused")[-1]
    assert record["count"] >= 100 > len(record["mistakes"])
