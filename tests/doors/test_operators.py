import grp
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from broker.errors import UpstreamRejected
from broker.identity import Peer
from tests.conftest import Serve
from tests.support.broker import ServedBroker, locked, private_key
from tests.support.clients import Wire
from tests.support.notes import TOKEN
from tests.support.operators import OperatorRefused, OperatorsClient
from tests.support.users import said_to_nobody

OPERATORS = [
    {"user": "root", "role": "admin"},
    {"user": "daemon", "role": "auditor"},
    {"user": "bin", "role": "approver"},
]
GRANT = {"connector": "notes", "client_id": "client", "subject": "subject", "private_key": private_key()}
CHANGES: list[tuple[str, str, Any]] = [
    ("POST", "/v1/grants", GRANT),
    ("POST", "/v1/grants/notes/test", None),
    ("DELETE", "/v1/grants/notes", None),
    ("POST", "/v1/keys", {"agent": "analyst"}),
    ("POST", "/v1/keys/aamk_none/revoke", {"reason": "why"}),
    ("POST", "/v1/connectors/notes/test", None),
    ("POST", "/v1/connectors/notes/snapshot", None),
    ("PUT", "/v1/connectors/notes/snapshot", {"sha256": "0" * 64}),
    ("POST", "/v1/documents/rollback", {"digest": "0" * 64, "reason": "why"}),
    ("DELETE", "/v1/documents/rollback/1", None),
    ("POST", "/v1/agents/suspend", {"all": True, "reason": "why"}),
    ("POST", "/v1/agents/resume", {"all": True, "reason": "why"}),
]
READS = [
    "/v1/status",
    "/v1/spend",
    "/v1/agents",
    "/v1/tools?as=analyst",
    "/v1/grants",
    "/v1/connectors/notes",
    "/v1/trail",
    "/v1/documents/history",
]


@contextmanager
def connecting_as(user: str) -> Iterator[None]:
    """Let the kernel say that another user connects, where it is asked."""
    uid = {"root": 0, "daemon": 1, "bin": 2, "agent": 4711}[user]
    with patch("broker.app.http.socket_peer", lambda _: Peer(1, uid, uid)):
        yield


def refusal_of(operators: OperatorsClient, method: str, path: str, body: Any = None) -> OperatorRefused:
    """Ask for something that must be refused."""
    with pytest.raises(OperatorRefused) as raised:
        operators.ask(method, path, body)
    return raised.value


@pytest.mark.parametrize("user", ["daemon", "bin"])
def test_auditors_and_approvers_read_and_change_nothing(serve: Serve, user: str) -> None:
    """Issue 2, Operators: roles admin, approver, auditor."""
    broker = serve(operators=OPERATORS)

    with connecting_as(user):
        answers = [broker.operators.get(path) for path in READS]
        refused = [refusal_of(broker.operators, *change).code for change in CHANGES]

    assert all(answers)
    assert set(refused) == {"operator_forbidden"}
    assert broker.parts.vault.find("notes").status == "active"


def test_who_is_no_operator_is_told_nothing(serve: Serve) -> None:
    """Issue 2, Operators: an agent's user cannot use it; root is nobody either unless a document says so."""
    broker = serve(operators=OPERATORS)

    with connecting_as("agent"):
        refused = [refusal_of(broker.operators, "GET", path) for path in READS]
        refused += [refusal_of(broker.operators, *change) for change in CHANGES]

    assert {refusal.code for refusal in refused} == {"operator_unknown"}
    records = broker.records(kind="authentication_refused")
    assert [(record["origin"], record["outcome"]["code"]) for record in records] == [
        ({"transport": "operators", "source": "uid:4711"}, "operator_unknown")
    ]


def test_a_peer_that_the_kernel_does_not_name_is_nobody(serve: Serve) -> None:
    """A check returns what it proved; nothing proved means nobody."""
    broker = serve()

    with patch("broker.app.http.socket_peer", side_effect=OSError):
        assert refusal_of(broker.operators, "GET", "/v1/status").code == "operator_unknown"


def test_no_header_makes_an_operator(broker: ServedBroker) -> None:
    """The peer's user decides, whatever the request says of itself; and HTTP has no operators at all."""
    claims = {"X-Forwarded-For": "uid:0", "Forwarded": "for=uid:0", "Authorization": f"Bearer {broker.token()}"}

    with connecting_as("agent"), pytest.raises(OperatorRefused) as raised:
        broker.operators.ask("GET", "/v1/status", headers=claims)

    assert (raised.value.status, raised.value.code) == (403, "operator_unknown")


def test_the_socket_is_its_owners_alone(broker: ServedBroker) -> None:
    """architecture.md, Processes: mode 0600."""
    path = broker.operators.path

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "PermissionError" in said_to_nobody(path, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def test_a_named_group_may_knock_and_the_user_still_decides(serve: Serve) -> None:
    """architecture.md, Processes: 0660 and a named group; membership opens the socket, not the door."""
    group = grp.getgrgid(grp.getgrnam("nogroup").gr_gid)
    broker = serve(listen={"http": "127.0.0.1:0", "operators_group": group.gr_name})
    path = broker.operators.path

    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o660, group.gr_gid)
    assert "operator_unknown" in said_to_nobody(path, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def test_every_change_names_its_actor(serve: Serve) -> None:
    """Issue 2, Operators: every change names its actor in the trail."""
    broker = serve(grant=False)

    broker.operators.post("/v1/grants", GRANT)
    broker.operators.post("/v1/grants/notes/test")
    broker.operators.delete("/v1/grants/notes")

    kinds = {"grant_added", "grant_tested", "grant_revoked"}
    changes = [record for record in broker.records() if record["kind"] in kinds]
    assert [record["kind"] for record in changes] == ["grant_added", "grant_tested", "grant_revoked"]
    assert all(record["actor"]["uid"] == os.getuid() and record["actor"]["role"] == "admin" for record in changes)
    assert private_key()[100:200] not in repr(changes)


def test_a_tested_grant_says_what_the_service_answers(broker: ServedBroker) -> None:
    """Issue 2: `aam grants test` makes the connector's harmless call, and the credential's use is a record."""
    answer = broker.operators.post("/v1/grants/notes/test")

    assert answer["answer"] == "Revenue grew."
    record = broker.records(kind="grant_tested")[-1]
    assert (record["outcome"], record["credential"]["kind"]) == ({"code": None}, "jwt-bearer")


def test_a_test_that_fails_is_recorded_too(broker: ServedBroker) -> None:
    """What used a credential is on record, however it ended; an exception's own text is nowhere."""

    async def fail(session: Any, _document: Any) -> str:
        await session.call("GET", "/notes/first")
        raise ValueError("SESAME-OPEN-SESAME")

    broker.notes.probes = fail
    refusal = refusal_of(broker.operators, "POST", "/v1/grants/notes/test")

    assert refusal.code == "internal_error"
    assert broker.records(kind="grant_tested")[-1]["outcome"] == {"code": "internal_error"}
    assert "SESAME" not in repr(broker.records()) + repr(refusal.detail)


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize(
    ("part", "path"), [("probes", "/v1/grants/notes/test"), ("describes", "/v1/connectors/notes/snapshot")]
)
def test_operators_see_no_credential_either(serve: Serve, part: str, path: str, *, refuses: bool) -> None:
    """credentials.md B6: what a service echoes reaches neither an operator's screen nor a snapshot agents will read."""

    async def leak(session: Any, _document: Any) -> Any:
        await session.call("GET", "/notes/first")
        if refuses:
            raise UpstreamRejected(detail=f"the service said: {TOKEN}")
        return {"label": f"it is {TOKEN}"}

    broker = serve(snapshot="notes.json")
    setattr(broker.notes, part, leak)

    refusal = refusal_of(broker.operators, "POST", path)

    assert refusal.code == "leak_blocked"
    assert TOKEN not in repr(broker.records()) + refusal.message + repr(refusal.detail)


def test_a_snapshot_is_pinned_exactly_as_it_was_looked_at(serve: Serve) -> None:
    """architecture.md, The documents: fetched and approved by a command; both name their actor, neither is implied."""
    broker = serve(snapshot="notes.json")
    pinned = broker.written.directory / "notes.json"

    fetched = broker.operators.post("/v1/connectors/notes/snapshot")
    unpinned = pinned.exists()
    broker.operators.put("/v1/connectors/notes/snapshot", {"sha256": fetched["sha256"]})
    again = refusal_of(broker.operators, "PUT", "/v1/connectors/notes/snapshot", {"sha256": fetched["sha256"]})

    assert not unpinned
    assert (
        json.loads(pinned.read_bytes())
        == fetched["fetched"]
        == {"first": "Revenue grew.", "resources": ["notes", "secrets"]}
    )
    assert again.code == "not_found"
    for kind in ("snapshot_fetched", "snapshot_approved"):
        (record,) = broker.records(kind=kind)
        assert (record["sha256"], record["actor"]["uid"]) == (fetched["sha256"], os.getuid())


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/v1/grants", {}, "operator_request_invalid"),
        ("POST", "/v1/grants", {**GRANT, "more": 1}, "operator_request_invalid"),
        ("POST", "/v1/grants", {**GRANT, "connector": "nope"}, "not_found"),
        ("POST", "/v1/grants", {**GRANT, "private_key": "SESAME"}, "operator_request_invalid"),
        ("POST", "/v1/grants", {**GRANT, "private_key": "x" * 30_000}, "operator_request_invalid"),
        ("POST", "/v1/grants", "x" * (2 << 20), "operator_request_invalid"),
        ("POST", "/v1/grants", GRANT, "already_exists"),
        ("DELETE", "/v1/grants/nope", None, "not_found"),
        ("GET", "/v1/tools?as=nope", None, "not_found"),
        ("GET", "/v1/trail?last=x", None, "operator_request_invalid"),
        ("GET", "/v1/trail/calls/nope", None, "not_found"),
        ("GET", "/v1/trail/export?purpose=x", None, "operator_request_invalid"),
        ("GET", "/v1/nope", None, "operator_request_invalid"),
        ("POST", "/v1/status", None, "operator_request_invalid"),
        ("POST", "/v1/connectors/notes/snapshot", None, "operator_request_invalid"),
        ("PUT", "/v1/connectors/notes/snapshot", {"sha256": "0" * 64}, "not_found"),
        ("PUT", "/v1/connectors/notes/snapshot", {"sha256": "../../x"}, "operator_request_invalid"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_with_a_code(
    broker: ServedBroker, method: str, path: str, body: Any, code: str
) -> None:
    """Project rule: every refusal has a stable code; a secret that was sent is not sent back."""
    refusal = refusal_of(broker.operators, method, path, body)

    assert refusal.code == code
    assert "SESAME" not in refusal.message + repr(refusal.detail)


def test_the_trail_is_read_from_its_end_and_onwards(broker: ServedBroker) -> None:
    """Issue 2: `aam trail tail`; nobody gets more than a page, and pages join."""
    for _ in range(4):
        Wire(broker).call("notes_notes_read", {"id": "n1"})
    total = len(broker.records())

    last = broker.operators.get("/v1/trail", last=3)
    after = broker.operators.get("/v1/trail", after=total - 6)

    assert [record["seq"] for record in last] == list(range(total - 3, total))
    assert [record["seq"] for record in after] == list(range(total - 5, total))
    assert len(broker.operators.get("/v1/trail", last=10**9)) == min(total, 1000)
    assert broker.operators.get("/v1/trail", after=10**18) == []


def test_a_call_can_be_looked_up(broker: ServedBroker) -> None:
    """Issue 2: `aam trail show CALL`."""
    call_id = Wire(broker).call("notes_notes_read", {"id": "n1"}).call_id

    records = broker.operators.get(f"/v1/trail/calls/{call_id}")

    assert [record["kind"] for record in records] == ["requested", "decided", "finished"]


def test_an_export_is_whole_and_on_record(broker: ServedBroker) -> None:
    """Issue 2, Trail: canonical records behind a statement of size and root; that it was read is a record."""
    with broker.operators.export() as lines:
        stated = json.loads(next(lines))
        exported = list(lines)

    record = broker.records(kind="trail_exported")[-1]
    assert len(exported) == stated["size"]
    assert (record["size"], record["root"], record["actor"]["uid"]) == (stated["size"], stated["root"], os.getuid())


def test_the_status_says_what_the_broker_does(broker: ServedBroker) -> None:
    """Issue 2: what is loaded, what runs, and what is wrong."""
    status = broker.operators.get("/v1/status")

    assert status["development"] is True
    assert status["trouble"] is None
    assert status["grants"] == {"notes": "active"}
    assert status["trail"]["records"] > 0
    assert status["trust_domains"]["prod"]["development"] is True


def test_a_change_that_cannot_be_recorded_is_not_made(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """audit.md C5: fail closed, operators' changes too."""
    monkeypatch.setattr("broker.store._BUSY_SECONDS", 0.05)
    broker = serve()

    with locked(broker.written.directory / "data/broker.db"):
        refusal = refusal_of(broker.operators, "DELETE", "/v1/grants/notes")

    assert refusal.code == "audit_unavailable"
    assert broker.parts.vault.find("notes").status == "active"
