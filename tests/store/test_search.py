"""The search index: it finds what a naive filter finds, in any state of catching up, and mends itself."""

import contextlib
import itertools
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audit import Filter, Record
from broker.errors import IndexUnavailable
from broker.store import SearchIndex, Store
from tests.support.trails import call, clock, found, index, matching, record, selected, write

LOG = "access.example/log/test"
DENIED = Filter(decision="deny")
TIMES = [f"2026-11-24T08:00:0{second}.000Z" for second in range(4)]
FACTS = {
    "agent": st.sampled_from(["a", "b", None]),
    "workload": st.sampled_from(["spiffe://x/a", "spiffe://x/b", "a"]),
    "owner": st.sampled_from(["jane", None]),
    "team": st.sampled_from(["finance", "sales"]),
    "resource": st.sampled_from(["crm.notes", "crm.leads"]),
    "action": st.sampled_from(["read", "write"]),
}
ENDS = st.fixed_dictionaries({}, optional={"code": st.sampled_from(["access_denied", "upstream_timeout", None])})
DECIDED = st.fixed_dictionaries({}, optional={"decision": st.sampled_from(["permit", "deny"])})
FILTERS = st.builds(
    Filter,
    **dict.fromkeys(("since", "until"), st.none() | st.sampled_from(TIMES)),
    **{name: st.none() | values for name, values in FACTS.items() if name != "workload"},
    decision=st.none() | st.sampled_from(["permit", "deny"]),
    code=st.none() | st.sampled_from(["access_denied", "upstream_timeout", "leak_blocked"]),
)


@st.composite
def trails(draw: st.DrawFn) -> list[Record]:
    """Draw the records of calls that run beside each other, some not to their end, and of events between them."""
    running: list[list[Record]] = []
    for number in range(draw(st.integers(0, 12))):
        time = draw(st.sampled_from(TIMES))
        facts = draw(st.fixed_dictionaries({}, optional=FACTS))
        if draw(st.booleans()):
            whole = call(f"call {number}", time, **facts, **draw(DECIDED), **draw(ENDS))
            running.append(whole[: draw(st.integers(1, 3))])
        elif draw(st.booleans()):
            running.append([record("authentication_refused", time, workload="spiffe://x/a", code="access_denied")])
        else:
            running.append([record("started", time)])
    order = draw(st.permutations([place for place, records in enumerate(running) for _ in records]))
    left = [iter(records) for records in running]
    return [next(left[place]) for place in order]


@settings(max_examples=60)
@given(
    records=trails(),
    split=st.integers(0, 40),
    batches=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    wanted=FILTERS,
    page=st.integers(1, 5),
    start=st.integers(0, 10),
    near=st.sampled_from([0, 1, 3, 2000]),
)
def test_a_search_finds_what_a_naive_filter_finds_however_the_index_caught_up(
    records: list[Record], split: int, batches: list[int], wanted: Filter, page: int, start: int, near: int
) -> None:
    """Issue 3, What a user can do 2: by time, agent, owner, team, resource, action, decision, code; newest first."""
    with tempfile.TemporaryDirectory() as place, closing(Store.open(Path(place) / "db", LOG)) as store:
        write(store, records[:split])
        index(store, batches)
        write(store, records[split:])
        index(store, batches)

        expected = matching(records, wanted)

        with patch("broker.store.matching._NEAREST", near):
            assert found(store, wanted, page) == sorted(expected, reverse=True)
        chosen = sorted(seq for seqs in expected.values() for seq in seqs)
        assert selected(store, wanted, 0, len(records)) == chosen
        assert selected(store, wanted, start, len(records)) == [seq for seq in chosen if seq >= start]


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, -1])
def test_a_clock_that_jumps_hides_nothing(store: Store, step: int) -> None:
    """Issue 3, What must be true 2: a clock that jumps back; entries of one time may stand far from each other."""
    hours = [clock(hour * 3600, step) for hour in (9, 5, 9, 2, 5, 9)]
    records = [record("started", next(moments)) for moments in hours for _ in range(900)]
    write(store, records)
    index(store)

    hits = []
    for since, until in itertools.combinations([None, *(f"2026-11-24T0{h}:07:30.000Z" for h in (1, 4, 5, 8, 9))], 2):
        wanted = Filter(since=since, until=until)
        hits.append(len(matching(records, wanted)))
        assert found(store, wanted, 200) == sorted(matching(records, wanted), reverse=True)

    assert len(set(hits)) > 3


def test_an_entry_says_who_asked_for_what_and_what_came_of_it(store: Store) -> None:
    """Issue 3, What a user can do 2: what a line of `aam trail search` is made of, read from the trail itself."""
    asked = {"agent": "analyst", "workload": "spiffe://x/a", "resource": "crm.notes", "action": "read"}
    actor = {"user": "jane", "uid": 1, "role": "admin"}
    refused = call("c", "2026-11-24T08:00:00.000Z", **asked, decision="deny", code="access_denied")
    write(store, [*refused, {"kind": "grant_added", "time": "t", "connector": "crm", "actor": actor}])
    index(store)

    event, entry = store.search.search(Filter(), None, 10)

    expected = {**asked, "seq": 0, "last_seq": 2, "kind": "call", "call_id": "c", "decision": "deny"}
    assert entry == entry | expected | {"code": "access_denied", "time": "2026-11-24T08:00:00.000Z"}
    assert event == event | {"seq": 3, "kind": "grant_added", "call_id": None, "actor": actor, "connector": "crm"}


# --- What is wrong is mended ------------------------------------------------------------------------------------------


@pytest.fixture
def indexed(store: Store) -> Store:
    """Index some hundred calls, every tenth of them denied."""
    decisions = ["permit" if number % 10 else "deny" for number in range(300)]
    write(store, (one for n, decision in enumerate(decisions) for one in call(f"call {n}", decision=decision)))
    index(store)
    return store


def reopened(store: Store) -> Store:
    """Look at the index as the next process does."""
    store.search.close()
    store.search = SearchIndex(store._path)
    return store


def _sql(statement: str) -> Callable[[SearchIndex], None]:
    def damage(search: SearchIndex) -> None:
        with closing(sqlite3.connect(search.path, isolation_level=None)) as another:
            another.executescript(statement)

    return damage


def _bytes(offset: int, data: bytes) -> Callable[[SearchIndex], None]:
    def damage(search: SearchIndex) -> None:
        with closing(sqlite3.connect(search.path)) as another:
            another.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with search.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    return damage


def _cut(search: SearchIndex) -> None:
    _bytes(0, b"")(search)
    os.truncate(search.path, 5000)


DAMAGE: dict[str, Callable[[SearchIndex], object]] = {
    "deleted": lambda search: search.path.unlink(),
    "emptied": lambda search: search.path.write_bytes(b""),
    "a letter": lambda search: search.path.write_text("a letter, and no database\n" * 100),
    "cut off": _cut,
    "its head": _bytes(0, b"\xff" * 100),
    "its format": _bytes(44, b"\xff" * 4),
    "its pages": _bytes(4096, b"\xff" * 4096 * 8),
    "a table": _sql("DROP TABLE members"),
    "an index": _sql("DROP INDEX entries_by_facet"),
    "no progress": _sql("DELETE FROM progress"),
    "another version": _sql("PRAGMA user_version = 99"),
    "another history": _sql("UPDATE progress SET last = zeroblob(32)"),
    "ahead of the trail": _sql("UPDATE progress SET size = size + 1"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_made_anew_at_the_start(indexed: Store, damage: str) -> None:
    """Issue 3, What a user can do 2: rebuildable; nobody is asked, and nothing is missing afterwards."""
    expected = found(indexed, DENIED)
    DAMAGE[damage](indexed.search)

    index(reopened(indexed))

    assert found(indexed, DENIED) == expected
    assert len(expected) == 30
    assert len(selected(indexed, DENIED, 0, 900)) == 90


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_index_that_is_damaged_under_a_running_broker_is_made_anew(indexed: Store, damage: str) -> None:
    """Whoever searches meanwhile is refused, or finds what there is; never a traceback."""
    expected = found(indexed, DENIED)
    DAMAGE[damage](indexed.search)

    write(indexed, call("one more", decision="deny"))
    for _ in range(3):
        with contextlib.suppress(IndexUnavailable):
            found(indexed, DENIED)
        with contextlib.suppress(IndexUnavailable):
            indexed.search.catch_up(1)
    index(indexed)

    assert found(indexed, DENIED) == [900, *expected]


def test_an_index_of_another_trail_is_not_this_ones(indexed: Store, tmp_path: Path) -> None:
    """A copied or rolled-back store, and the index that stood beside another."""
    with closing(Store.open(tmp_path / "other.db", LOG)) as other:
        write(other, call("another", decision="deny") * 500)
        index(other)
        with closing(sqlite3.connect(other.search.path)) as another:
            another.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(other.search.path, indexed.search.path)

    index(reopened(indexed))

    assert len(found(indexed, DENIED)) == 30


def test_rebuilding_begins_with_the_first_record(indexed: Store) -> None:
    """Issue 3, What a user can do 2: rebuildable."""
    indexed.search.rebuild()

    assert (indexed.search.size, found(indexed, Filter())) == (0, [])
    index(indexed)
    assert (indexed.search.size, len(found(indexed, Filter()))) == (900, 300)


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"\xff\xfe",
        b"[1]",
        b"5",
        b"{" * 3000,
        b'{"time":{"a":1},"identity":5,"action":[],"policy":"x","outcome":{"code":{}}}',
        "text",
    ],
)
def test_a_body_that_is_gone_or_damaged_stops_nothing(store: Store, body: object) -> None:
    """What is wrong with a record is verify's to say; the index goes on, and shows that there is one."""
    write(store, [record("started", "t"), *call("a", agent="a"), *call("b", agent="b")])
    with closing(sqlite3.connect(store._path)) as another, another:
        another.execute("UPDATE records SET body = ? WHERE seq IN (0, 1, 2, 3)", (body,))

    index(store, [2])

    assert found(store, Filter(agent="b")) == [4]
    shown = store.search.search(Filter(), None, 10)
    kind = "pruned" if body is None else None
    assert [(entry["seq"], entry["kind"], entry["agent"]) for entry in shown[1:]] == [(1, kind, None), (0, kind, None)]
    assert selected(store, Filter(), 0, 7) == list(range(7))


def test_a_batch_that_fails_leaves_the_index_as_it_was(indexed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members, entries and progress in one transaction; and trouble that is not the index's does not cost it."""
    write(indexed, call("one more", decision="deny"))
    before = indexed.search.path.stat().st_ino

    with monkeypatch.context() as trouble:
        trouble.setattr("broker.store.indexing._ADD_SPANS", "INSERT INTO nowhere VALUES (1)")
        with pytest.raises(IndexUnavailable, match="cannot be used now") as refusal:
            indexed.search.catch_up(10)
    halfway = found(indexed, DENIED)
    index(indexed)

    assert "nowhere" in str(refusal.value.detail)
    assert len(halfway) == 30
    assert found(indexed, DENIED) == [900, *halfway]
    assert indexed.search.path.stat().st_ino == before


def test_where_the_store_is_gone_the_index_says_so_and_stays(indexed: Store) -> None:
    """A search shows what the trail has; without it, there is nothing to show."""
    away = indexed._path.rename(indexed._path.with_name("away"))

    for ask in (lambda: indexed.search.search(Filter(), None, 1), lambda: indexed.search.catch_up(1)):
        with pytest.raises(IndexUnavailable):
            ask()
    away.rename(indexed._path)
    index(indexed)

    assert len(found(indexed, DENIED)) == 30


def test_what_stands_in_the_indexs_place_and_is_no_file_is_left_alone(store: Store) -> None:
    """An operator's mistake is said, not removed."""
    (store.search.path / "something").mkdir(parents=True)

    with pytest.raises(IndexUnavailable):
        store.search.catch_up(10)

    assert (store.search.path / "something").exists()


def test_a_search_before_anything_is_indexed_finds_nothing(store: Store) -> None:
    """A broker that has just started is no broker in trouble; how far the index is, is said beside it."""
    write(store, call("a"))

    assert (found(store, Filter()), store.search.size) == ([], 0)


def test_only_its_owner_can_read_the_index(store: Store) -> None:
    """threat-model.md: it says who may do what, as the store does, whatever the user's umask is."""
    before = os.umask(0)
    try:
        write(store, call("a"))
        index(store)
    finally:
        os.umask(before)

    with store.search._connected() as connection:
        connection.execute("SELECT * FROM entries").fetchall()
        paths = list(store.search.path.parent.glob("*.index*"))
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
        assert len(paths) == 3


def test_a_selection_that_is_not_indexed_yet_is_refused_not_cut_short(indexed: Store) -> None:
    """An export of it would be an export with a hole that nobody sees."""
    write(indexed, call("one more"))

    with pytest.raises(IndexUnavailable, match="record 902"):
        next(iter(indexed.search.selected(Filter(), 0, 903)))


def test_a_selection_is_of_one_state_however_long_it_is_read(indexed: Store) -> None:
    """A call that ends meanwhile does not come in from its middle on."""
    write(indexed, call("running", decision="deny")[:1])
    index(indexed)

    chosen = indexed.search.selected(DENIED, 0, 901)
    first = next(chosen)
    write(indexed, call("running", decision="deny")[1:])
    index(indexed)

    assert (first, list(chosen)[-1]) == ((0, 3), (870, 873))
    assert selected(indexed, DENIED, 873, 903) == [900, 901, 902]


def test_a_closed_index_indexes_nothing_more(store: Store) -> None:
    """store.py, `close`: what runs in a worker thread ends before the store does."""
    write(store, call("a"))
    store.search.close()

    assert (store.search.catch_up(10), store.search.path.exists()) == (0, False)


_FOR_EVER = """
import sys, pathlib, broker.store as s
index = s.SearchIndex(pathlib.Path(sys.argv[1]))
while True:
    index.catch_up(7)
    print(index.size, flush=True)
    if index.size == 900: index.rebuild()
"""


@pytest.mark.slow
def test_an_index_survives_being_killed_at_any_moment(indexed: Store) -> None:
    """A crash at any point leaves what is consistent: the rest is indexed, and nothing twice."""
    expected = found(indexed, DENIED)

    for reached in range(0, 1800, 120):
        process = subprocess.Popen([sys.executable, "-c", _FOR_EVER, str(indexed._path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(reached // 7 + 1):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        process.stdout.close()

        index(reopened(indexed))
        assert found(indexed, DENIED) == expected
        assert len(selected(indexed, DENIED, 0, 900)) == 90
