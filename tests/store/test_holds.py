"""Legal holds: which calls and events each keeps, as whole calls, and for how long."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.store import Hold, Store, Transaction
from tests.support.log import call_records

pytestmark = pytest.mark.anyio

DAYS = [f"2026-11-{day:02}T00:00:00.000Z" for day in range(1, 6)]


async def put(store: Store, *records: Mapping[str, Any]) -> None:
    """Append records."""
    await store.commits.commit(lambda change: [store.trail.append(change, record) for record in records])


async def hold(store: Store, name: str, **wanted: str) -> None:
    """Put a hold on what matches."""
    await store.commits.commit(lambda change: store.holds.add(change, Hold(name, name, wanted, "why", "now")))


def held(store: Store, start: int = 0, stop: int = 1000) -> list[range]:
    """Return what is held."""
    with store.reading() as connection:
        return list(store.holds.held(connection, start, stop))


def event(time: str, kind: str = "started", **facts: Any) -> dict[str, Any]:
    """Write an event that is no call."""
    return {"kind": kind, "time": time, **facts}


async def test_a_call_is_held_as_a_whole_wherever_its_records_stand(store: Store) -> None:
    """Issue 3, What a user can do 6: legal holds win; half a call would be no evidence."""
    jane, joe = call_records("c1", owner="jane"), call_records("c2", owner="joe")
    await put(store, jane[0], joe[0], joe[1], jane[1], event(DAYS[0]), joe[2], jane[2])
    await hold(store, "case", owner="jane")

    assert held(store) == [range(1), range(3, 4), range(6, 7)]
    assert held(store, 3, 7) == [range(3, 4), range(6, 7)]
    assert held(store, 4, 6) == []


@pytest.mark.parametrize("page", [1, 2, 3, 500])
async def test_what_is_held_comes_in_ranges_whatever_the_page(
    store: Store, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """holds.py, `held`: a page at a time, in constant memory, and neighbours together."""
    monkeypatch.setattr("broker.store.holds._PAGE", page)
    await put(store, event(DAYS[0]), *call_records("c1", time=DAYS[1]), event(DAYS[1]), event(DAYS[2]), event(DAYS[1]))
    await hold(store, "case", since=DAYS[1], until=DAYS[2])

    assert held(store) == [range(1, 5), range(6, 7)]
    assert held(store, 2, 4) == [range(2, 4)]


@pytest.mark.parametrize("part", ["agent", "owner", "team", "resource", "action", "decision", "code", "call"])
async def test_an_event_that_is_no_call_is_held_by_its_time_alone(store: Store, part: str) -> None:
    """filter.py: an event that is no call has none of what only calls have, whatever stands in it."""
    facts: dict[str, Any] = {
        "identity": {"agent": "x", "spiffe_id": "x", "owner": "x", "team": "x"},
        "action": {"resource": "x", "action": "x"},
        "policy": {"decision": "x"},
        "outcome": {"code": "x"},
    }
    await put(store, event(DAYS[0], **facts))
    await hold(store, "part", **{part: "x", "since": DAYS[0]})
    by_part = held(store)
    await hold(store, "time", since=DAYS[0])

    assert (by_part, held(store)) == ([], [range(1)])


async def test_a_hold_on_one_call_holds_that_call(store: Store) -> None:
    """`aam trail hold add NAME --call ID`."""
    await put(store, *call_records("c1"), *call_records("c2"))
    await hold(store, "case", call="c2")

    assert held(store) == [range(3, 6)]
    assert store.read(lambda connection: store.holds.of_calls(connection, ["c1", "c2"])) == {"c2": ["case"]}


async def test_a_hold_keeps_until_it_is_released_and_its_name_stays_its_own(store: Store) -> None:
    """What a name meant can be looked up for ever."""
    await put(store, *call_records("c1", owner="jane"))
    await hold(store, "one", owner="jane")
    await hold(store, "two", owner="jane")

    def release(transaction: Transaction, name: str) -> bool:
        return store.holds.release(transaction, name, "later")

    assert store.read(lambda connection: store.holds.of_calls(connection, ["c1"])) == {"c1": ["one", "two"]}
    assert await store.commits.commit(lambda change: release(change, "one"))
    assert not await store.commits.commit(lambda change: release(change, "one"))
    assert not await store.commits.commit(lambda change: release(change, "three"))
    assert held(store) == [range(3)]
    assert await store.commits.commit(lambda change: release(change, "two"))
    assert held(store) == []
    assert not await store.commits.commit(
        lambda change: store.holds.add(change, Hold("new", "one", {"owner": "joe"}, "why", "now"))
    )
    assert [(one.name, one.wanted, one.released) for one in store.read(store.holds.all)] == [
        ("two", {"owner": "jane"}, "later"),
        ("one", {"owner": "jane"}, "later"),
    ]


async def test_a_hold_stands_for_a_change_in_the_same_transaction(store: Store) -> None:
    """What prunes or erases asks inside its own change: nobody can put a hold in between."""
    await put(store, *call_records("c1"))

    def change(transaction: Transaction) -> tuple[list[range], dict[str, list[str]]]:
        store.holds.add(transaction, Hold("h", "case", {"call": "c1"}, "why", "now"))
        return list(store.holds.held(transaction, 0, 3)), store.holds.of_calls(transaction, ["c1"])

    assert await store.commits.commit(change) == ([range(3)], {"c1": ["case"]})


async def test_what_was_pruned_holds_nothing_up(store: Store) -> None:
    """A body may be NULL, or be no JSON any more."""
    await put(store, *call_records("c1", owner="jane"), *call_records("c2", owner="jane"), event(DAYS[0]))
    await hold(store, "case", owner="jane")
    await hold(store, "time", since=DAYS[0])
    await store.commits.commit(
        lambda change: change.execute("UPDATE records SET body = NULL WHERE call_id = 'c1' OR seq = 6").rowcount
    )

    assert held(store) == [range(3, 6)]


# --- Against a model that is slow and plain ---------------------------------------------------------------------------

_FACTS = st.fixed_dictionaries(
    {},
    optional={
        "time": st.sampled_from(DAYS),
        "owner": st.sampled_from(["a", "b"]),
        "agent": st.sampled_from(["a", "b"]),
        "decision": st.sampled_from(["permit", "deny"]),
    },
)
_WANTED = st.fixed_dictionaries(
    {"since": st.sampled_from(DAYS)},
    optional={
        "until": st.sampled_from(DAYS),
        "owner": st.sampled_from(["a", "b"]),
        "agent": st.sampled_from(["a", "b"]),
        "decision": st.sampled_from(["permit", "deny"]),
        "call": st.sampled_from(["c0", "c1"]),
    },
)


@settings(max_examples=40)
@given(
    calls=st.lists(_FACTS, max_size=5),
    events=st.lists(st.sampled_from(DAYS), max_size=4),
    holds=st.lists(_WANTED, max_size=3),
    order=st.randoms(),
)
def test_held_is_what_every_part_of_some_hold_is_true_of(
    calls: list[dict[str, str]], events: list[str], holds: list[dict[str, str]], order: Any
) -> None:
    """holds.py: all parts of one hold must be true, of one hold at least; and the order of records does not matter."""
    records = [record for number, facts in enumerate(calls) for record in call_records(f"c{number}", **facts)]
    records += [event(time) for time in events]
    order.shuffle(records)
    expected = [seq for seq, record in enumerate(records) if is_held(record, calls, holds)]

    async def run(store: Store) -> list[int]:
        await put(store, *records)
        for number, wanted in enumerate(holds):
            await hold(store, f"h{number}", **wanted)
        return [seq for run in held(store) for seq in run]

    with tempfile.TemporaryDirectory() as place, contextlib.closing(Store.open(Path(place, "b.db"), "x/log")) as store:
        assert asyncio.run(run(store)) == expected


def is_held(record: dict[str, Any], calls: list[dict[str, str]], holds: list[dict[str, str]]) -> bool:
    """Say it as the documentation does."""
    facts = {"time": record["time"]}
    if "call_id" in record:
        first = call_records(record["call_id"], **calls[int(record["call_id"][1:])])
        facts = {"time": first[0]["time"], "call": record["call_id"], "decision": first[1]["policy"]["decision"]}
        facts |= {name: first[0]["identity"][name] for name in ("owner", "agent")}
    return any(
        facts["time"] >= wanted["since"]
        and facts["time"] < wanted.get("until", "9")
        and all(facts.get(name) == value for name, value in wanted.items() if name not in {"since", "until"})
        for wanted in holds
    )


async def test_a_hold_is_kept_as_json(store: Store) -> None:
    """Whoever looks into the store with other tools can read it."""
    await hold(store, "case", owner="jane")

    with store.reading() as connection:
        ((text,),) = connection.execute("SELECT filter FROM holds")
    assert json.loads(text) == {"owner": "jane"}
