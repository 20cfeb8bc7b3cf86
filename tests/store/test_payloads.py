"""Sealed values beside the trail: found by filter, erased for good, and no proof of the trail rests on them."""

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audit import Filter, Statement, verify
from broker.store import Store, Transaction
from tests.support.log import append_call

pytestmark = pytest.mark.anyio

SEALED = b"SEALED-" * 1000  # more than a page


async def fill(store: Store, **calls: dict[str, str]) -> None:
    """Record calls, with two sealed values each."""

    def change(transaction: Transaction) -> None:
        for call, facts in calls.items():
            append_call(store, transaction, call, **facts)
            for field in ("arguments", "result"):
                store.payloads.add(transaction, call, field, SEALED + call.encode(), "now")

    await store.commits.commit(change)


def matching(store: Store, **wanted: str) -> list[str]:
    """Return the calls with sealed values that match, from every page."""
    found: list[str] = []
    after: str | None = ""
    with store.reading() as connection:
        while after is not None:
            calls, after = store.payloads.matching(connection, wanted, after)
            found += calls
    return found


CALLS: dict[str, dict[str, str]] = {
    "c1": {"time": "2026-11-01T00:00:00.000Z", "agent": "analyst", "owner": "jane", "decision": "permit"},
    "c2": {"time": "2026-11-02T00:00:00.000Z", "agent": "triage", "owner": "joe", "team": "support"},
    "c3": {"time": "2026-11-03T00:00:00.000Z", "decision": "deny", "code": "access_denied", "resource": "crm.cases"},
    "c4": {"time": "2026-11-04T00:00:00.000Z", "action": "search", "workload": "spiffe://prod/agent/x"},
}


@pytest.mark.parametrize(
    ("wanted", "calls"),
    [
        ({"since": "2026-11-02"}, ["c2", "c3", "c4"]),
        ({"until": "2026-11-02"}, ["c1"]),
        ({"since": "2026-11-02", "until": "2026-11-03T00:00:00.001Z"}, ["c2", "c3"]),
        ({"agent": "triage"}, ["c2"]),
        ({"agent": "spiffe://prod/agent/x"}, ["c4"]),
        ({"owner": "jane"}, ["c1"]),
        ({"team": "support"}, ["c2"]),
        ({"resource": "crm.cases"}, ["c3"]),
        ({"action": "search"}, ["c4"]),
        ({"decision": "deny"}, ["c3"]),
        ({"code": "access_denied"}, ["c3"]),
        ({"owner": "jane", "agent": "triage"}, []),
        ({"owner": "' OR 1 --"}, []),
    ],
)
async def test_calls_are_found_by_every_part_of_a_filter(
    store: Store, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str], calls: list[str]
) -> None:
    """Issue 3, What a user can do 2: by time, agent, owner, team, resource, action, decision, code; page by page."""
    monkeypatch.setattr("broker.store.payloads._PAGE", 2)
    await fill(store, **CALLS)

    assert matching(store, **Filter.parse(wanted).query()) == calls


async def test_one_call_is_found_by_its_id_if_anything_is_kept_of_it(store: Store) -> None:
    """`--call ID`."""
    await fill(store, **CALLS)

    assert (matching(store, call="c3"), matching(store, call="c9")) == (["c3"], [])


@pytest.mark.parametrize("body", [None, b"", b"\xff\x00", b"[" * 5000, b'{"identity": "jane"}', b'"jane"', b"null"])
async def test_a_record_that_cannot_be_read_matches_nothing_and_stops_nothing(store: Store, body: Any) -> None:
    """Bodies are pruned after their time, and somebody may have changed one: that is for `verify` to say."""
    await fill(store, **CALLS)
    await store.commits.commit(
        lambda change: change.execute("UPDATE records SET body = ? WHERE call_id = 'c1' AND seq = 0", (body,)).rowcount
    )

    assert matching(store, owner="jane") == []
    assert matching(store, owner="joe") == ["c2"]


async def test_a_value_that_is_kept_already_stays(store: Store) -> None:
    """A commit whose result was unknown may be made again."""
    await fill(store, c1={})

    await store.commits.commit(lambda change: store.payloads.add(change, "c1", "result", b"other", "later"))

    assert store.read(lambda connection: store.payloads.of_call(connection, "c1"))["result"] == SEALED + b"c1"


async def test_what_was_erased_is_gone_from_the_file_and_its_log(store: Store) -> None:
    """Issue 3, What must be true: erased later; not even the sealed bytes stay, also those of pages set free."""
    await fill(store, **CALLS)
    with contextlib.closing(store._connected()) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = files(store)

    erased = await store.commits.commit(lambda change: store.payloads.erase(change, ["c1", "c2", "c3", "c4"]))
    folded = store.fold_log()

    assert (erased, folded) == (8, True)
    assert SEALED[:70] in before  # the control: the search looks where the values are
    assert b"SEALED" not in files(store)


def files(store: Store) -> bytes:
    """Read the database and everything beside it."""
    return b"".join(path.read_bytes() for path in store._path.parent.iterdir() if path.is_file())


async def test_a_log_that_somebody_reads_is_not_said_to_be_empty(store: Store) -> None:
    """Whoever erases is told the truth, and may do it again."""
    await fill(store, **CALLS)

    with store.reading() as connection:
        store.payloads.of_call(connection, "c1")
        await store.commits.commit(lambda change: store.payloads.erase(change, ["c1"]))
        while_reading = store.fold_log()

    assert (while_reading, store.fold_log()) == (False, True)
    assert await store.commits.commit(lambda change: store.payloads.erase(change, ["c2"])) == 2


@settings(max_examples=25)
@given(st.lists(st.lists(st.sampled_from([f"c{number}" for number in range(8)]), max_size=8), max_size=3))
def test_erasing_whatever_it_is_leaves_the_trail_as_it_was(erasures: Sequence[Sequence[str]]) -> None:
    """Issue 3, What must be true: erased later without breaking a proof, so with the same root."""

    async def run(store: Store) -> None:
        await fill(store, **{f"c{number}": {} for number in range(8)})
        before = store.commits.values[store.trail.HEAD]
        for calls in erasures:
            await store.commits.commit(lambda change, calls=calls: store.payloads.erase(change, calls))  # type: ignore[misc]
        after = store.commits.values[store.trail.HEAD]
        with store.reading() as connection:
            report = verify(store.trail.bodies(connection, 0, after.size), Statement.of(store.trail.log, before))
            left = {call for (call,) in connection.execute("SELECT call_id FROM payloads")}
        assert (report.holds, report.root) == (True, before.root().hex())
        assert left == {f"c{number}" for number in range(8)} - {call for calls in erasures for call in calls}

    with tempfile.TemporaryDirectory() as place, contextlib.closing(Store.open(Path(place, "b.db"), "x/log")) as store:
        asyncio.run(run(store))
