"""A transaction: what the changes of one commit write with."""

import functools
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
_Written = Callable[[str, int, int], str]
_Waiting = tuple[_Written, str, Sequence[Any]]
_MOST_AT_ONCE = 64
"""Rows of one statement, a power of two: each step of SQLite's costs the writer its turn, whatever it does in it."""


class Transaction:
    """What a change is given: ways to write, and values that live and die with the transaction.

    A value (the trail's head) stands in memory only as far as it stands on disk. Rows that are only added wait until
    something is read that may hold them or the commit comes, and then go together: decision 12 says why.
    """

    def __init__(self, connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self._once: dict[str, dict[Any, Any]] = {}
        self._connection = connection
        self._waiting: list[_Waiting] = []
        self._before = 0
        """How many of the rows that wait are of changes before the one under way."""
        self._early: list[_Waiting] = []
        """Rows of changes before the one under way that would be undone with it, and so would have to be run again."""
        self.apart = _Apart(self._save, connection)
        """Runs statements on tables that nobody adds rows to: what waits goes on waiting."""
        self._saved = True
        """Whether what the change under way does can be undone at the database; outside a change, nothing need be."""

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement, on all that was written before it."""
        self.flush()
        return self._connection.execute(statement, parameters)

    def add(self, into: str, row: Sequence[Any]) -> None:
        """Insert a row, `into` "table (column, ...)", at some time before the next `execute` or the commit.

        In any order with others' rows. It must not fail: if it does, so does the whole transaction.
        """
        self._waiting.append((_insert, into, row))

    def add_new(self, into: str, row: Sequence[Any]) -> None:
        """Do the same for a row that may be there already, and then stays as it is."""
        self._waiting.append((_insert_new, into, row))

    def take(self, where: str, value: Any) -> None:
        """Do the same for the rows that are to go, `where` "table WHERE column": after all are in that are added."""
        self._waiting.append((_delete, where, (value,)))

    def once(self, what: str, key: Any, read: Callable[["_Apart"], T]) -> T:
        """Return what is read, for all changes of this commit but once: of tables that seldom change.

        A change that does change them says so with `forget`.
        """
        known = self._once.setdefault(what, {})
        if key not in known:
            known[key] = read(self.apart)
        found: T = known[key]
        return found

    def forget(self, what: str) -> None:
        """Have it read again: it is changed here."""
        self._once.pop(what, None)

    def flush(self) -> None:
        """Run what waits, and see to it that what comes now can be undone."""
        self._save()
        if self._waiting:
            self._run(self._waiting)
            self._early += self._waiting[: self._before]
            self._waiting, self._before = [], 0

    def _save(self) -> None:
        if not self._saved:
            self._connection.execute("SAVEPOINT change")
            self._saved = True

    def _run(self, waiting: Sequence[_Waiting]) -> None:
        alike: dict[tuple[_Written, str], list[Sequence[Any]]] = {}
        for write, what, row in waiting:
            alike.setdefault((write, what), []).append(row)
        try:
            for (write, what), rows in sorted(alike.items(), key=lambda one: one[0][0] is _delete):
                for some in _in_powers_of_two(rows):
                    self._connection.execute(write(what, len(some), len(some[0])), [*itertools.chain(*some)])
        except sqlite3.Error as error:  # the change that it befalls may not be the one whose row it is
            raise sqlite3.OperationalError(str(error)) from error

    def apply(self, change: Callable[["Transaction"], T]) -> T:
        """Run one change; if it raises, undo what it did and nothing else."""
        values = dict(self.values)
        self._saved, self._before = False, len(self._waiting)
        try:
            result = change(self)
            if self._saved:
                self._connection.execute("RELEASE change")
        except Exception as error:
            self.values = values
            self._undo(error)
            raise
        finally:
            self._saved, self._early = True, []
        return result

    def _undo(self, error: Exception) -> None:
        del self._waiting[self._before :]
        self._once = {}
        if not self._saved:
            return
        try:
            self._connection.execute("ROLLBACK TO change")
            self._connection.execute("RELEASE change")
            self._waiting[:0] = self._early
        except sqlite3.Error:  # where the disk is full, SQLite has undone the whole transaction already
            raise sqlite3.OperationalError(str(error)) from error


class _Apart:
    """Runs statements that need not see the rows that wait."""

    __slots__ = ("_connection", "_save")

    def __init__(self, save: Callable[[], None], connection: sqlite3.Connection) -> None:
        self._save = save
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        self._save()
        return self._connection.execute(statement, parameters)


@functools.lru_cache(maxsize=256)
def _insert(into: str, rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT INTO {into} VALUES {', '.join([row] * rows)}"  # noqa: S608 - names of ours


def _insert_new(into: str, rows: int, width: int) -> str:
    return _insert(into, rows, width) + " ON CONFLICT DO NOTHING"


@functools.lru_cache(maxsize=256)
def _delete(where: str, rows: int, _width: int) -> str:
    return f"DELETE FROM {where} IN ({', '.join('?' * rows)})"  # noqa: S608 - names of ours


def _in_powers_of_two(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the rows by as many as possible, so that there are few statements, and each is compiled but once."""
    start, count = 0, _MOST_AT_ONCE
    while start < len(rows):
        while count > len(rows) - start:
            count //= 2
        yield rows[start : start + count]
        start += count
