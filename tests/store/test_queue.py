import asyncio
import contextlib
import json
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.audit import Statement, verify
from broker.errors import AuditUnavailable
from broker.store import Pending, Store, Transaction
from tests.support.broker import locked, until
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio

LOG = "access.example/log/test"
Trouble = Callable[[sqlite3.Connection], object]


def submit(store: Store, said: object) -> Pending[int]:
    """Add a record, too large for the pages that are there already."""
    return store.commits.submit(lambda change: store.trail.append(change, {"said": said, "more": "x" * 20_000}).seq)


def submit_reading(store: Store, said: object) -> Pending[int]:
    """Do the same, and read in the same change: what was added no longer waits for the end."""

    def change(transaction: Transaction) -> int:
        place = store.trail.append(transaction, {"said": said, "more": "x" * 20_000}).seq
        assert transaction.execute("SELECT max(seq) FROM records").fetchone() == (place,)
        return place

    return store.commits.submit(change)


def recorded(store: Store) -> list[Any]:
    """Return what the records on disk say, once they are verified against the head that the writer goes on from."""
    bodies = store.read(lambda connection: list(store.trail.bodies(connection, 0, 1000)))
    assert verify(bodies, Statement.of(LOG, store.commits.values[store.trail.HEAD])).holds
    return [json.loads(body)["said"] for body in bodies]


@contextlib.contextmanager
def writer_held(store: Store) -> Iterator[None]:
    """Keep the writer busy meanwhile, so that all that is submitted waits together."""
    reached, over = threading.Event(), threading.Event()
    store.commits.submit(lambda _: (reached.set(), over.wait(60)))  # type: ignore[func-returns-value]
    assert reached.wait(60)
    yield
    over.set()


async def test_a_change_is_on_disk_when_its_commit_returns(store: Store, tmp_path: Path) -> None:
    """queue.py: durable once `done` returns; a copy of the files at that moment, as a crash leaves them, has it."""
    await submit(store, "one").done

    (synchronous,) = store.commits._connected().execute("PRAGMA synchronous").fetchone()
    shutil.copytree(tmp_path / "data", tmp_path / "copy", ignore=lambda *_: ["broker.db-shm"])  # which is memory

    copy = Store.open(tmp_path / "copy" / "broker.db", LOG)
    assert recorded(copy) == ["one"]
    assert synchronous == 2  # FULL: what is committed outlives the machine's power, too
    copy.close()


@pytest.mark.parametrize(("most", "commits"), [(512, 1), (7, 3)])
async def test_all_who_wait_share_commits_in_the_order_of_their_submission(
    store: Store, monkeypatch: pytest.MonkeyPatch, most: int, commits: int
) -> None:
    """architecture.md, one writer: one commit queue that groups all who wait."""
    monkeypatch.setattr("broker.store.queue._MOST_AT_ONCE", most)
    statements: list[str] = []
    store.commits._connected().set_trace_callback(statements.append)

    with writer_held(store):
        waiting = [submit(store, number) for number in range(20)]
    places = [await pending.done for pending in waiting]

    assert statements.count("COMMIT") == 1 + commits  # the one that held the writer, and theirs
    assert places == recorded(store) == list(range(20))


GOOD: dict[str, Callable[[Store, Transaction, str], object]] = {
    "good": lambda store, transaction, name: store.settings.put(transaction, name, "set"),
    "only a record": lambda *_: None,
    "apart": lambda _, transaction, name: announce(transaction, name),
}


def announce(transaction: Transaction, name: str) -> None:
    """Write to a table that nobody adds to."""
    transaction.apart.execute("INSERT INTO budget_news (id, webhook, said) VALUES (?, '', '')", (name,))


def announce_and_fail(transaction: Transaction, name: str, *, read: bool) -> None:
    """Write to it in vain, once records of others have been written within the change, or not."""
    announce(transaction, name)
    if read:
        transaction.execute("SELECT max(seq) FROM records").fetchone()
    raise ValueError(name)


def add_and_read(transaction: Transaction, value: object) -> None:
    """Add a row, and have it written before the change ends, with all that waits."""
    transaction.add("budget_news (id, webhook, said)", (value, "", ""))
    transaction.execute("SELECT 1").close()


BAD: dict[str, Callable[[Store, Transaction, str], object]] = {
    "an error of its own": lambda *_: int("no number"),
    "a record too large": lambda store, transaction, _: store.trail.append(transaction, {"said": "x" * 70_000}),
    "there already": lambda _, transaction, __: transaction.execute("INSERT INTO records (seq) VALUES (0)"),
    "null where none may be": lambda _, transaction, __: transaction.execute("INSERT INTO grants (id) VALUES ('x')"),
    "no value": lambda store, transaction, _: store.settings.put(transaction, "x", object()),  # type: ignore[arg-type]
    "too many values": lambda _, transaction, __: transaction.execute("DELETE FROM settings", ("x",)),
    "a number too large": lambda store, transaction, _: store.settings.put(transaction, "x", 2**70),  # type: ignore[arg-type]
    "apart in vain": lambda _, transaction, name: announce_and_fail(transaction, name, read=False),
    "apart and reading in vain": lambda _, transaction, name: announce_and_fail(transaction, name, read=True),
    "adding what is no value, and reading": lambda _, transaction, __: add_and_read(transaction, 2**70),
    "no text": lambda store, transaction, _: store.settings.put(transaction, "x", "\ud800"),
}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([*GOOD, *GOOD, *GOOD, *GOOD, *BAD]), max_size=30))
@example([kind for bad in BAD for kind in (bad, "good")])
@example([kind for bad in BAD for kind in ("only a record", bad, "apart")])
def test_of_any_mixture_exactly_the_good_changes_stand(kinds: list[str]) -> None:
    """decisions/0002: a change that raises undoes and fails itself and no other, its values too; the trail is whole."""
    good = [number for number, kind in enumerate(kinds) if kind in GOOD]

    def change(store: Store, number: int, waiting: list[Pending[list[int]]]) -> Callable[[Transaction], list[int]]:
        def apply(transaction: Transaction) -> list[int]:
            transaction.values["seen"] = (*transaction.values.get("seen", ()), number)
            store.trail.append(transaction, {"said": number})
            (GOOD | BAD)[kinds[number]](store, transaction, str(number))
            return [before for before, pending in enumerate(waiting) if pending.applied]

        return apply

    async def main(store: Store) -> None:
        waiting: list[Pending[list[int]]] = []
        with writer_held(store):
            for number in range(len(kinds)):
                waiting.append(store.commits.submit(change(store, number, waiting)))
        ended = await asyncio.gather(*(pending.done for pending in waiting), return_exceptions=True)

        assert [end for end in ended if isinstance(end, list)] == [good[:place] for place in range(len(good))]
        assert not [end for end in ended if isinstance(end, AuditUnavailable)]
        assert store.commits.values.get("seen", ()) == tuple(good)
        assert not store.commits.failing
        assert recorded(store) == good
        with store.reading() as connection:
            assert store.trail.restore(connection) == store.commits.values[store.trail.HEAD]
            names = [int(name) for (name,) in connection.execute("SELECT name FROM settings ORDER BY rowid")]
            told = [int(name) for (name,) in connection.execute("SELECT id FROM budget_news ORDER BY rowid")]
        assert names == [number for number in good if kinds[number] == "good"]
        assert told == [number for number in good if kinds[number] == "apart"]

    with tempfile.TemporaryDirectory() as place, contextlib.closing(Store.open(Path(place) / "db", LOG)) as store:
        anyio.run(main, store)


async def test_what_takes_rows_away_comes_after_all_that_adds_some(store: Store) -> None:
    """decisions/0012: a call that begins and ends in one commit stays open for nobody, whoever else ends before."""
    call = store.trail.open_call, store.trail.close_call

    with writer_held(store):
        store.commits.submit(lambda change: call[1](change, "other"))
        store.commits.submit(lambda change: call[0](change, "quick", "2026-11-28T00:00:00Z"))
        last = store.commits.submit(lambda change: call[1](change, "quick"))
    await last.done

    assert store.read(store.trail.open_calls) == []


async def test_a_row_that_cannot_be_added_fails_everyone_rather_than_get_lost(store: Store) -> None:
    """transaction.py, `add`: the change whose row it is may have ended well before."""
    with writer_held(store):
        waiting = [store.commits.submit(lambda change: change.add("records (seq)", (0,))) for _ in range(2)]
        waiting.append(store.commits.submit(lambda change: change.execute("SELECT 1").close()))
    ended = await asyncio.gather(*(pending.done for pending in waiting), return_exceptions=True)

    assert [type(end) for end in ended] == [AuditUnavailable] * 3
    assert recorded(store) == []


class Breaking:
    """A connection that has trouble before it runs a statement for the n-th time."""

    def __init__(self, connection: Any, trouble: Trouble, statement: str, nth: int) -> None:
        self.close = connection.close
        self._connection, self._trouble, self._statement, self._left = connection, trouble, statement, nth

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Run a statement."""
        self._count(statement)
        return self._connection.execute(statement, parameters)

    def executemany(self, statement: str, rows: Sequence[Any]) -> Any:
        """Run a statement for each row."""
        self._count(statement)
        return self._connection.executemany(statement, rows)

    def _count(self, statement: str) -> None:
        if statement.startswith(self._statement):
            self._left -= 1
            if self._left == 0:
                self._trouble(self._connection)


@contextlib.contextmanager
def breaking(store: Store, trouble: Trouble, statement: str, nth: int = 1) -> Iterator[None]:
    """Let all that is submitted meanwhile go in one commit, which meets trouble."""
    with writer_held(store):
        store.commits._connection = Breaking(store.commits._connection, trouble, statement, nth)  # type: ignore[assignment]
        yield


def disk_error(_connection: sqlite3.Connection) -> None:
    """Fail as a disk does."""
    raise sqlite3.OperationalError("disk I/O error")


def disk_error_after_commit(connection: sqlite3.Connection) -> None:
    """Commit, and fail to say so."""
    connection.execute("COMMIT")
    raise sqlite3.OperationalError("disk I/O error")


def disk_full(connection: sqlite3.Connection) -> None:
    """Leave no room for another page."""
    connection.execute("PRAGMA max_page_count = 1")


def connection_lost(connection: sqlite3.Connection) -> None:
    """Close what is being used."""
    connection.close()


@pytest.mark.parametrize(
    ("submitted", "trouble", "cause", "statements"),
    [
        (submit, disk_error, "disk I/O error", {"BEGIN": 1, "INSERT INTO records": 1, "COMMIT": 1}),
        (submit, disk_full, "disk is full", {"INSERT INTO records": 1}),
        (
            submit_reading,
            disk_error,
            "disk I/O error",
            {"BEGIN": 1, "SAVEPOINT": 2, "INSERT INTO records": 2, "RELEASE": 2, "COMMIT": 1},
        ),
        (submit_reading, disk_full, "disk is full", {"BEGIN": 1, "INSERT INTO records": 2}),
        (submit_reading, connection_lost, "closed database", {"BEGIN": 1, "INSERT INTO records": 2, "COMMIT": 1}),
    ],
)
async def test_a_store_that_fails_fails_everyone_and_keeps_nothing_of_them(
    store: Store,
    submitted: Callable[[Store, object], Pending[int]],
    trouble: Trouble,
    cause: str,
    statements: dict[str, int],
) -> None:
    """audit.md C5 (NIST AU-5): nothing is half-applied, the operator reads the cause, and the next change is taken."""
    for round_, (statement, nth) in enumerate(statements.items()):
        with breaking(store, trouble, statement, nth):
            waiting = [submitted(store, "lost") for _ in range(3)]
        ended = await asyncio.gather(*(pending.done for pending in waiting), return_exceptions=True)
        failing = store.commits.failing
        place = await submit(store, "kept").done

        assert [cause in str(end.detail) for end in ended if isinstance(end, AuditUnavailable)] == [True] * 3, statement
        assert [pending.applied for pending in waiting] == [False] * 3
        assert (failing, store.commits.failing) == (True, False)
        assert place == round_
        assert recorded(store) == ["kept"] * (round_ + 1)


@pytest.mark.parametrize(("trouble", "stands"), [(disk_error, False), (disk_error_after_commit, True)])
async def test_after_a_commit_of_unknown_result_the_disk_is_asked(
    store: Store, trouble: Trouble, *, stands: bool
) -> None:
    """queue.py, `load`: only the disk knows whether the last commit is there; either way the next record fits on."""
    with breaking(store, trouble, "COMMIT"):
        unknown = submit(store, "unknown")
    (ended,) = await asyncio.gather(unknown.done, return_exceptions=True)
    failing = store.commits.failing

    place = await submit(store, "next").done

    assert failing
    assert (ended == 0, isinstance(ended, AuditUnavailable), unknown.applied) == (stands, not stands, stands)
    assert place == int(stands)
    assert recorded(store) == (["unknown", "next"] if stands else ["next"])


async def test_a_locked_store_takes_nothing_and_resumes_by_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """audit.md C5: lock timeouts are a test case; nobody has to ask for the store to be tried again."""
    monkeypatch.setattr("broker.store.queue._PROBE_SECONDS", 0.02)
    store.commits._connected().execute("PRAGMA busy_timeout = 20")
    monkeypatch.setattr("broker.store._BUSY_SECONDS", 0.02)

    with locked(store._path):
        ended = await asyncio.gather(*(submit(store, number).done for number in range(3)), return_exceptions=True)
        failing = store.commits.failing
    await anyio.to_thread.run_sync(until, lambda: not store.commits.failing)

    assert [type(end) for end in ended] == [AuditUnavailable] * 3
    assert failing
    assert await submit(store, "after").done == 0


async def test_a_caller_who_stops_waiting_does_not_undo_its_change(store: Store) -> None:
    """architecture.md: *finished* is recorded whatever ends the call, cancellation included."""
    with writer_held(store):
        waiting = [submit(store, number) for number in range(3)]
        waiting[1].done.cancel()

    assert [await waiting[0].done, await waiting[2].done] == [0, 2]
    assert recorded(store) == [0, 1, 2]


async def test_a_commit_that_takes_too_long_is_waited_for_only_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call refused since the disk dawdles is refused after the time said, not after twice that, for its end too."""
    clock = Clock(100.0)
    monkeypatch.setattr("broker.store.queue.time", clock)
    monkeypatch.setattr("broker.store.queue.SLOW_SECONDS", 60)  # far longer than the writer is held
    with writer_held(store):
        clock.now = 160.0
        late = submit(store, "late")
        with pytest.raises(AuditUnavailable):
            await store.commits.durable(late)
    await late.done

    assert recorded(store) == ["late"]


async def test_closing_writes_what_waits_and_refuses_what_comes_later(store: Store) -> None:
    """queue.py, `close`: nothing that was accepted is lost, and nobody waits for ever."""
    accepted = [submit(store, number) for number in range(20)]

    store.close()
    late = submit(store, "late")

    with anyio.fail_after(30):
        assert [await pending.done for pending in accepted] == recorded(store) == list(range(20))
        with pytest.raises(AuditUnavailable):
            await late.done
