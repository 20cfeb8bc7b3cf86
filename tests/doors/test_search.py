"""`/v1/trail/search`: pages of what the trail has, and how far the index behind them is."""

import os
from typing import Any

import pytest

from tests.conftest import Serve
from tests.doors.test_operators import OPERATORS, connecting_as, refusal_of
from tests.support.broker import ServedBroker, until
from tests.support.clients import Wire
from tests.support.documents import ANALYST

PATH = "/v1/trail/search"


@pytest.fixture
def called(broker: ServedBroker) -> list[str]:
    """Make calls that end in every way; return their ids, once they are indexed."""
    wire = Wire(broker)
    calls = [("notes_notes_read", {"id": "n1"}), ("notes_notes_purge", {"id": "n1"}), ("notes_notes_read", {})]
    ids = [str(wire.call(*one).call_id) for one in calls]
    index_is_current(broker)
    return ids


def index_is_current(broker: ServedBroker) -> None:
    """Wait until every record is indexed."""
    until(lambda: not broker.operators.get("/v1/status")["search_index"]["records"])


def test_calls_are_found_by_what_was_asked_and_what_came_of_it(broker: ServedBroker, called: list[str]) -> None:
    """Issue 3, What a user can do 2: by agent, owner, team, resource, action, decision and code."""
    read, purged, refused = called

    def ids(**wanted: str) -> list[str]:
        return [entry["call_id"] for entry in broker.operators.get(PATH, **wanted)["entries"]]

    assert [one for one in ids() if one][:3] == [refused, purged, read]  # events may come between
    for agent in ("analyst", ANALYST):
        assert ids(agent=agent, owner="jane@example.com", team="finance")[:3] == [refused, purged, read]
    assert ids(resource="notes.notes", action="purge", decision="deny", code="access_denied")[0] == purged
    assert ids(decision="permit")[0] == read
    assert ids(code="invalid_arguments")[0] == refused
    assert ids(since="2999-01-01") == ids(until="2000-01-01") == ids(agent="nobody") == []


def test_refused_authentications_are_found_by_their_code(broker: ServedBroker) -> None:
    """Who was kept out is searched for like who was let in."""
    Wire(broker, "no token").post(b"{}", "tools/list")
    until(lambda: broker.records(kind="authentication_refused"))
    index_is_current(broker)

    entry = broker.operators.get(PATH, code="proof_malformed")["entries"][0]

    assert (entry["kind"], entry["code"], entry["call_id"]) == ("authentication_refused", "proof_malformed", None)


def test_pages_join(broker: ServedBroker, called: list[str]) -> None:
    """Issue 3, What a user can do 2: newest first, pages; a page that is the last says so."""
    mine = {"agent": "analyst"}  # of the shared broker, which may note meanwhile whom it has kept out before
    whole = broker.operators.get(PATH, limit=200, **mine)["entries"]
    pages: list[Any] = []
    page = broker.operators.get(PATH, limit=2, **mine)
    while page["next"] is not None:
        assert len(page["entries"]) == 2
        pages += page["entries"]
        page = broker.operators.get(PATH, limit=2, before=page["next"], **mine)

    assert called[0] in {entry["call_id"] for entry in whole}
    assert [*pages, *page["entries"]][:200] == whole


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("since=yesterday", "since"),
        ("until=2026-13-01", "until"),
        ("decision=maybe", "decision"),
        ("agnet=x", "agnet"),
        ("agent=a&agent=b", "agent"),
        ("agent=", "agent"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("before=-1", "before"),
        ("before=" + "9" * 5000, "before"),
        ("before=%D9%A3", "before"),
    ],
)
def test_a_filter_that_asks_for_nothing_known_is_refused_by_name(broker: ServedBroker, query: str, named: str) -> None:
    """Absent means less: what is misspelt must not be answered as if it had not been asked."""
    refusal = refusal_of(broker.operators, "GET", f"{PATH}?{query}")

    assert refusal.code == "operator_request_invalid"
    assert refusal.message.startswith(f"{named}:")


def test_every_operator_may_search_and_only_an_admin_has_the_index_made_again(serve: Serve) -> None:
    """Issue 2, Operators: reading needs any role, changing needs admin; who asked is on record."""
    broker = serve(operators=OPERATORS)
    index_is_current(broker)

    for user in ("daemon", "bin"):
        with connecting_as(user):
            assert broker.operators.get(PATH)["entries"]
            assert refusal_of(broker.operators, "POST", "/v1/trail/reindex").code == "operator_forbidden"
    answer = broker.operators.post("/v1/trail/reindex")
    index_is_current(broker)

    assert answer["lag"]["records"] > 0
    (record,) = broker.records(kind="index_rebuilt")
    assert record["actor"]["uid"] == os.getuid()
    assert broker.operators.get(PATH)["entries"][0]["kind"] == "index_rebuilt"


def test_an_index_that_cannot_be_used_is_said_with_a_code_and_stops_no_call(serve: Serve) -> None:
    """errors.md, `index_unavailable`; issue 3: never in a call's way."""
    broker = serve()
    index_is_current(broker)
    for path in broker.written.directory.glob("data/broker.db.index*"):
        path.unlink()
    broker.parts.store.search.path.mkdir()

    released = Wire(broker).call("notes_notes_read", {"id": "n1"})
    refusal = refusal_of(broker.operators, "GET", PATH)
    status = broker.operators.get("/v1/status")
    broker.parts.store.search.path.rmdir()
    index_is_current(broker)

    assert broker.outcome(str(released.call_id))["status"] == "released"
    assert (refusal.status, refusal.code) == (503, "index_unavailable")
    assert status["search_index"]["records"] == len(broker.records())
    assert status["trouble"] is None
    assert broker.operators.get(PATH, resource="notes.notes")["entries"][0]["call_id"] == released.call_id
