"""The operators' door to what is recorded encrypted, and to legal holds: who may, and what is on record of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from broker.identity import Peer
from tests.conftest import Serve
from tests.support.broker import ServedBroker, locked, until
from tests.support.clients import Wire
from tests.support.documents import recording_policy
from tests.support.operators import OperatorRefused

OPERATORS = [
    {"user": "root", "role": "admin"},
    {"user": "daemon", "role": "auditor"},
    {"user": "bin", "role": "approver"},
]
WHY = {"reason": "request 12"}


@pytest.fixture
def recorded(serve: Serve) -> ServedBroker:
    """Serve a broker that has the analyst's arguments and results recorded."""
    broker = serve(operators=OPERATORS)
    broker.written.put("recording.yaml", recording_policy("arguments.id", "result"))
    until(lambda: broker.records(kind="documents_loaded"))
    return broker


@contextmanager
def connecting_as(user: str) -> Iterator[None]:
    """Let the kernel say that another user connects, where it is asked."""
    uid = {"root": 0, "daemon": 1, "bin": 2, "agent": 4711}[user]
    with patch("broker.app.http.socket_peer", lambda _: Peer(1, uid, uid)):
        yield


def refusal_of(broker: ServedBroker, method: str, path: str, body: Any = None) -> OperatorRefused:
    """Ask for something that must be refused."""
    with pytest.raises(OperatorRefused) as raised:
        broker.operators.ask(method, path, body)
    return raised.value


def read(broker: ServedBroker, note: str = "n1") -> str:
    """Let the analyst read a note, and return the call's id."""
    return Wire(broker).call("notes_notes_read", {"id": note}).call_id


@pytest.mark.parametrize("user", ["root", "daemon"])
def test_admins_and_auditors_are_shown_what_was_recorded_and_it_is_on_record(recorded: ServedBroker, user: str) -> None:
    """Issue 3, What must be true: everything an auditor asks about is in the same trail with its actor."""
    call = read(recorded)

    with connecting_as(user):
        shown = recorded.operators.post(f"/v1/trail/calls/{call}/reveal", WHY)

    assert shown == {
        "call": call,
        "values": [
            {"field": "arguments.id", "value": "n1"},
            {"field": "result", "value": {"id": "n1", "text": "Revenue grew."}},
        ],
    }
    (record,) = recorded.records(kind="payload_revealed")
    assert (record["call"], record["fields"], record["reason"]) == (call, ["arguments.id", "result"], "request 12")
    assert record["actor"]["user"] == user
    assert "Revenue" not in repr(record)
    assert recorded.verified().holds


def test_what_cannot_be_put_on_record_is_not_shown(recorded: ServedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """audit.md C5, fail closed: the record comes first."""
    call = read(recorded)
    monkeypatch.setattr("broker.store._BUSY_SECONDS", 0.05)

    with locked(recorded.written.directory / "data/broker.db"):
        recorded.parts.store.commits._connected().execute("PRAGMA busy_timeout = 50")
        refusal = refusal_of(recorded, "POST", f"/v1/trail/calls/{call}/reveal", WHY)

    assert refusal.code == "audit_unavailable"


def test_what_is_recorded_and_what_was_erased_is_said_without_showing_it(recorded: ServedBroker) -> None:
    """`aam trail show` without --reveal: any operator's to know, and no record of its own."""
    call = read(recorded)
    before = recorded.operators.get(f"/v1/trail/calls/{call}/payloads")

    answer = recorded.operators.post("/v1/trail/erase", {"call": call, **WHY})

    after = recorded.operators.get(f"/v1/trail/calls/{call}/payloads")
    assert answer == {"calls": 1, "values": 2, "kept": [], "overwritten": True}
    assert [(one["field"], one["state"]) for one in before] == [("arguments.id", "recorded"), ("result", "recorded")]
    assert [(one["field"], one["state"]) for one in after] == [("arguments.id", "erased"), ("result", "erased")]
    assert refusal_of(recorded, "POST", f"/v1/trail/calls/{call}/reveal", WHY).code == "not_found"
    assert recorded.records(kind="payload_revealed") == []
    assert recorded.verified().holds


def test_a_hold_keeps_what_matches_until_it_is_released(recorded: ServedBroker) -> None:
    """Issue 3, What a user can do 6: legal holds win, and each step is on record with its actor."""
    call = read(recorded)
    filter_ = {"owner": "jane@example.com"}

    hold = recorded.operators.post("/v1/trail/holds", {"name": "case-17", "filter": filter_, "reason": "case 17"})
    kept = recorded.operators.post("/v1/trail/erase", {"call": call, **WHY})
    would = recorded.operators.get("/v1/trail/payloads", owner="jane@example.com")
    recorded.operators.post("/v1/trail/holds/case-17/release", {"reason": "closed"})
    erased = recorded.operators.post("/v1/trail/erase", {"filter": filter_, **WHY})

    assert (hold["name"], hold["filter"], hold["released"]) == ("case-17", filter_, None)
    assert (kept["values"], kept["kept"]) == (0, [{"hold": "case-17", "calls": 1}])
    assert would == {"calls": 0, "values": 0, "kept": [{"hold": "case-17", "calls": 1}]}
    assert (erased["values"], erased["kept"]) == (2, [])
    (listed,) = recorded.operators.get("/v1/trail/holds")
    assert listed["released"]
    for kind, reason in (("hold_added", "case 17"), ("hold_released", "closed")):
        (record,) = recorded.records(kind=kind)
        assert (record["hold"]["name"], record["hold"]["filter"]) == ("case-17", filter_)
        assert (record["reason"], record["actor"]["uid"]) == (reason, os.getuid())


CHANGES: list[tuple[str, Any]] = [
    ("/v1/trail/erase", {"call": "x", **WHY}),
    ("/v1/trail/holds", {"name": "case-17", "call": "x", **WHY}),
    ("/v1/trail/holds/case-17/release", WHY),
]


@pytest.mark.parametrize("user", ["daemon", "bin"])
def test_only_an_admin_erases_and_holds(recorded: ServedBroker, user: str) -> None:
    """Issue 2, Operators: auditors and approvers read and change nothing."""
    call = read(recorded)

    with connecting_as(user):
        refused = [refusal_of(recorded, "POST", path, body).code for path, body in CHANGES]
        readable = [
            recorded.operators.get(path)
            for path in (f"/v1/trail/calls/{call}/payloads", f"/v1/trail/payloads?call={call}", "/v1/trail/holds")
        ]

    assert set(refused) == {"operator_forbidden"}
    assert readable[:2] != [[], {}]
    assert recorded.records(kind="hold_added") == []


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/trail/calls/nope/reveal", WHY, "not_found"),
        ("/v1/trail/calls/nope/reveal", {}, "operator_request_invalid"),
        ("/v1/trail/calls/nope/reveal", {"reason": "  "}, "operator_request_invalid"),
        ("/v1/trail/calls/nope/reveal", {"reason": "x" * 501}, "operator_request_invalid"),
        ("/v1/trail/calls/nope/reveal", {**WHY, "more": 1}, "operator_request_invalid"),
        ("/v1/trail/erase", WHY, "operator_request_invalid"),
        ("/v1/trail/erase", {"filter": {}, **WHY}, "operator_request_invalid"),
        ("/v1/trail/erase", {"filter": {"owner": ""}, **WHY}, "operator_request_invalid"),
        ("/v1/trail/erase", {"filter": {"onwer": "jane"}, **WHY}, "operator_request_invalid"),
        ("/v1/trail/erase", {"filter": {"since": "yesterday"}, **WHY}, "operator_request_invalid"),
        ("/v1/trail/erase", {"filter": {"owner": "x" * 301}, **WHY}, "operator_request_invalid"),
        ("/v1/trail/erase", {"filter": {"owner": "jane"}, "call": "x", **WHY}, "operator_request_invalid"),
        ("/v1/trail/erase", {"call": "x"}, "operator_request_invalid"),
        ("/v1/trail/holds", {"name": "case-17", **WHY}, "operator_request_invalid"),
        ("/v1/trail/holds", {"name": "Case 17", "call": "x", **WHY}, "operator_request_invalid"),
        ("/v1/trail/holds/nope/release", WHY, "not_found"),
        ("/v1/trail/holds/nope/release", {}, "operator_request_invalid"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_with_a_code(
    broker: ServedBroker, path: str, body: Any, code: str
) -> None:
    """Project rule: every refusal has a stable code; asking for nothing never means everything."""
    before = len(broker.records())

    assert refusal_of(broker, "POST", path, body).code == code
    assert len(broker.records()) == before


@pytest.mark.parametrize("query", ["", "?owner=", "?onwer=jane", "?since=yesterday", "?owner=jane&call=x"])
def test_a_look_at_what_would_be_erased_must_ask_for_something_too(broker: ServedBroker, query: str) -> None:
    """house-style.md: None never means all."""
    assert refusal_of(broker, "GET", f"/v1/trail/payloads{query}").code == "operator_request_invalid"


def test_a_name_of_a_hold_is_used_once(serve: Serve) -> None:
    """What it meant can be looked up for ever."""
    broker = serve()
    body = {"name": "case-17", "call": "x", **WHY}
    broker.operators.post("/v1/trail/holds", body)
    first = refusal_of(broker, "POST", "/v1/trail/holds", body)
    broker.operators.post("/v1/trail/holds/case-17/release", WHY)
    second = refusal_of(broker, "POST", "/v1/trail/holds", body)

    assert [first.code, second.code] == ["already_exists", "already_exists"]
    assert len(broker.records(kind="hold_added")) == 1


def test_a_call_of_which_nothing_was_asked_for_has_nothing_to_show(broker: ServedBroker) -> None:
    """And that nothing was shown needs no record."""
    call = read(broker)

    assert broker.operators.get(f"/v1/trail/calls/{call}/payloads") == []
    assert refusal_of(broker, "POST", f"/v1/trail/calls/{call}/reveal", WHY).code == "not_found"
    assert refusal_of(broker, "GET", "/v1/trail/calls/nope/payloads").code == "not_found"
