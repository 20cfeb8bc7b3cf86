"""The history of the documents at the operators' door."""

import base64
import hashlib
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import Wire
from tests.support.documents import POLICIES, agents_document, broker_document
from tests.support.operators import OperatorRefused

DENIED = POLICIES.replace("deny: [purge]", "deny: [purge, write]")


def put(broker: ServedBroker, name: str, text: str) -> str:
    """Change a document, wait until that is in force, and return the digest of the set."""
    before = broker.parts.documents.current.digest
    broker.written.put(name, text)
    until(lambda: broker.parts.documents.current.digest != before)
    return broker.parts.documents.current.digest


def refused(broker: ServedBroker, method: str, path: str, body: Any = None) -> OperatorRefused:
    """Ask for what must be refused."""
    with pytest.raises(OperatorRefused) as raised:
        broker.operators.ask(method, path, body)
    return raised.value


def test_every_set_is_listed_shown_and_kept(serve: Serve) -> None:
    """Issue 3, `aam documents history`: each set that was in force, down to the bytes of its files."""
    broker = serve()
    first = broker.parts.documents.current.digest
    second = put(broker, "policies.yaml", DENIED)
    third = put(broker, "agents.yaml", agents_document(analyst="suspended"))

    found = broker.operators.get("/v1/documents/history")
    page = broker.operators.get("/v1/documents/history", last=1, before=found["sets"][1]["record"])
    shown = broker.operators.get(f"/v1/documents/history/{second[:8]}")
    (policies,) = (file for file in shown["files"] if file["name"] == "policies.yaml")
    content = base64.b64decode(broker.operators.get(f"/v1/documents/files/{policies['sha256']}")["base64"])

    assert found["in_force"] == third
    assert [one["digest"] for one in found["sets"]] == [third, second, first]
    assert [one["in_force"] for one in found["sets"]] == [True, False, False]
    assert [one["digest"] for one in page["sets"]] == [first]
    assert found["sets"][1]["changed"]["documents"] == [
        {"kind": "AgentPolicy", "name": "analyst-notes", "change": "changed"}
    ]
    assert found["sets"][2]["changed"] is None
    assert (shown["digest"], shown["before"], policies["kept"]) == (second, first, True)
    assert content == DENIED.encode()
    kinds = [record["kind"] for record in broker.records()]
    assert kinds[-2:] == ["documents_loaded", "agent_suspended"]


def test_what_a_restart_brings_is_in_the_history_too(serve: Serve) -> None:
    """Issue 3, What must be true: an agent that was suspended while the broker was down is on record as well."""
    broker = serve()
    first = broker.parts.documents.current.digest
    broker.stop()
    broker.written.put("agents.yaml", agents_document(analyst="suspended"))
    again = ServedBroker(broker.written, broker.notes, grant=False)

    with again:
        found = again.operators.get("/v1/documents/history")["sets"]
        records = again.records()

    assert [one["digest"] for one in found] == [again.serving.documents.digest, first]
    started = max(record["seq"] for record in records if record["kind"] == "started")
    assert records[started]["before"] == first
    assert (records[started + 1]["kind"], records[started + 1]["agent"]) == ("agent_suspended", "analyst")


def test_a_rule_is_shown_as_it_was_then(serve: Serve) -> None:
    """Issue 3, `aam trail show`: the rule that decided, its text as it was then, from what the record names."""
    broker = serve()
    call = Wire(broker).call("notes_notes_purge", {"id": "n1"})
    (decided,) = broker.story(call.call_id)["decided"]["policy"]["rules"]
    rule = {name: decided[name] for name in ("policy", "sha256", "place")}
    put(broker, "policies.yaml", DENIED)

    found = broker.operators.get("/v1/documents/rules", **rule)
    unknown = broker.operators.get("/v1/documents/rules", **{**rule, "sha256": "0" * 64})

    assert found == {**rule, "text": f"> 6  {POLICIES.splitlines()[5]}"}
    assert unknown["text"] is None


def test_a_rollback_is_announced_and_what_it_loads_names_its_actor(serve: Serve) -> None:
    """decisions/0011: the daemon records who meant it; whoever may write the directory writes the files."""
    broker = serve()
    first = broker.parts.documents.current.digest
    put(broker, "policies.yaml", DENIED)

    begun = broker.operators.post("/v1/documents/rollback", {"digest": first[:10], "reason": " too much "})
    second = refused(broker, "POST", "/v1/documents/rollback", {"digest": first, "reason": "me too"})
    put(broker, "policies.yaml", POLICIES)

    newest = broker.operators.get("/v1/documents/history", last=1)["sets"][0]
    assert (begun["to"], newest["digest"]) == (first, first)
    assert newest["actor"]["role"] == "admin"
    assert newest["rollback"] == {"id": begun["id"], "reason": "too much"}
    assert (second.status, second.code) == (409, "rollback_under_way")
    assert refused(broker, "DELETE", f"/v1/documents/rollback/{begun['id']}").code == "not_found"


def test_a_rollback_that_is_given_up_is_on_record(serve: Serve) -> None:
    """Half-way failures are put back, and the trail says that nothing came of it."""
    broker = serve()
    first = broker.parts.documents.current.digest
    put(broker, "policies.yaml", DENIED)
    begun = broker.operators.post("/v1/documents/rollback", {"digest": first, "reason": "why"})

    broker.operators.delete(f"/v1/documents/rollback/{begun['id']}")

    (record,) = broker.records(kind="rollback_failed")
    assert (record["rollback"], record["to"], record["actor"]["role"]) == (begun["id"], first, "admin")
    assert broker.operators.post("/v1/documents/rollback", {"digest": first, "reason": "again"})["id"] != begun["id"]


def test_a_changed_broker_document_is_marked_as_waiting_for_a_restart(serve: Serve) -> None:
    """architecture.md, The documents: the Broker document's changes need a restart; the history says so."""
    broker = serve()

    put(broker, "broker.yaml", broker_document(caps={"argument_bytes": 64}))

    assert broker.operators.get("/v1/documents/history", last=1)["sets"][0]["restart_needed"] is True


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/v1/documents/history/abc", None, "operator_request_invalid"),
        ("GET", "/v1/documents/history/%25%25%25%25", None, "operator_request_invalid"),
        ("GET", "/v1/documents/history/..%2F..%2Fbroker", None, "operator_request_invalid"),
        ("GET", "/v1/documents/history/" + "f" * 64, None, "not_found"),
        ("GET", "/v1/documents/history?last=x", None, "operator_request_invalid"),
        ("GET", "/v1/documents/history?before=-1", None, "operator_request_invalid"),
        ("GET", "/v1/documents/files/" + "0" * 64, None, "not_found"),
        ("GET", "/v1/documents/files/secrets%2Fvault.key", None, "operator_request_invalid"),
        ("GET", "/v1/documents/rules?sha256=x&policy=p&place=tools", None, "operator_request_invalid"),
        ("GET", "/v1/documents/rules", None, "operator_request_invalid"),
        ("POST", "/v1/documents/rollback", {"digest": "f" * 64, "reason": "why"}, "not_found"),
        ("POST", "/v1/documents/rollback", {"digest": "f" * 64}, "operator_request_invalid"),
        ("POST", "/v1/documents/rollback", {"digest": "f" * 64, "reason": "  "}, "operator_request_invalid"),
        ("POST", "/v1/documents/rollback", {"digest": "zzzz", "reason": "why"}, "operator_request_invalid"),
        ("DELETE", "/v1/documents/rollback/nothing", None, "not_found"),
    ],
)
def test_what_is_not_there_or_asked_wrongly_is_refused(
    broker: ServedBroker, method: str, path: str, body: Any, code: str
) -> None:
    """Clear errors: each names what to do, and changes nothing."""
    before = len(broker.records())

    assert refused(broker, method, path, body).code == code

    assert len(broker.records()) == before


def test_a_damaged_history_is_told_and_not_given_out(serve: Serve) -> None:
    """`history_damaged`: whoever could write the store cannot have something else put back."""
    broker = serve()
    sha256 = broker.parts.documents.current.files["policies.yaml"]
    statement = "UPDATE document_files SET content = CAST('junk' AS BLOB)"
    broker.await_(broker.parts.store.commits.commit, lambda change: change.execute(statement).rowcount)

    told = refused(broker, "GET", f"/v1/documents/files/{sha256}")

    assert (told.status, told.code) == (500, "history_damaged")
    assert sha256 == hashlib.sha256(POLICIES.encode()).hexdigest()
