"""What a broker has really recorded, once for all tests: permits, denials, failures, refused proofs, changes."""

import contextlib
import json
import sqlite3
from typing import Any

import pytest

from broker.errors import UpstreamFailed
from tests.support.broker import ServedBroker, private_key, until
from tests.support.clients import Wire
from tests.support.documents import BARRED, write_documents
from tests.support.notes import TOKEN, Notes, NotesService
from tests.support.operators import OperatorRefused

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="session")
def lines(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Serve a broker through a day; return its trail as canonical bytes."""
    written = write_documents(tmp_path_factory.mktemp("views"), notes_service)
    with ServedBroker(written, Notes(), grant=False) as broker:
        _operate(broker)
        _call(broker)
        written.put("broken.yaml", "kind: Nothing\n")
        until(lambda: broker.records(kind="documents_refused"))
        (written.directory / "broken.yaml").unlink()
        written.put("agents.yaml", (written.directory / "agents.yaml").read_text() + "\n# as reviewed\n")
        until(lambda: broker.records(kind="documents_loaded"))
        with broker.operators.export() as exported:
            list(exported)
        broker.operators.delete("/v1/grants/notes")
    return _bodies(broker)


@pytest.fixture(scope="session")
def records(lines: list[bytes]) -> list[dict[str, Any]]:
    """Return the same as records."""
    return [json.loads(line) for line in lines]


def _operate(broker: ServedBroker) -> None:
    """Do what operators do."""
    grant = {"connector": "notes", "client_id": "client", "subject": "subject", "private_key": private_key()}
    broker.operators.post("/v1/grants", grant)
    broker.operators.post("/v1/grants/notes/test")
    with contextlib.suppress(OperatorRefused):  # its document names no file for a snapshot
        broker.operators.post("/v1/connectors/notes/snapshot")


def _call(broker: ServedBroker) -> None:
    """Do what agents do, and some who are none."""
    wire = Wire(broker)
    wire.call("notes_notes_read", {"id": "one"}, meta={"traceparent": TRACE})
    for tool, arguments in (
        ("notes_notes_write", {"id": "two"}),
        ("notes_notes_purge", {"id": "one"}),
        ("notes_notes_archive", {"id": "one"}),
        ("notes_secrets_read", {"id": "one"}),
        ("notes_notes_read", {"no": "id"}),
        ("=cmd|' /C calc'!A0", {}),
    ):
        wire.call(tool, arguments)

    async def fail(_call: object, _session: object) -> None:
        raise UpstreamFailed(detail="status 500")

    async def leak(_call: object, _session: object) -> dict[str, str]:
        return {"id": "one", "text": TOKEN}

    for behaviour in (fail, leak):
        broker.notes.behaves = behaviour
        wire.call("notes_notes_misbehave", {"id": "one"})
    Wire(broker, "no.token.at-all").call("notes_notes_read", {"id": "one"})
    for workload in BARRED.values():
        Wire(broker, broker.token(workload)).call("notes_notes_read", {"id": "one"})


def _bodies(broker: ServedBroker) -> list[bytes]:
    """Read the whole trail of a broker that has stopped, as a stranger would: from its file."""
    with contextlib.closing(sqlite3.connect(broker.written.directory / "data/broker.db")) as store:
        return [body for (body,) in store.execute("SELECT body FROM records ORDER BY seq")]
