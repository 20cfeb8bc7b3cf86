"""A transaction: what the changes of one commit write with."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Transaction:
    """What a change is given: ways to write, and values that live and die with the transaction.

    A value (the trail's head) stands in memory only as far as it stands on disk. Rows that are only added wait until
    something is read that may hold them or the commit comes, and then go together: decision 12 says why.
    """

    def __init__(self, connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self._connection = connection
        self._waiting: list[tuple[bool, str, Sequence[Any]]] = []
        self._before = 0
        """How many of the rows that wait are of changes before the one under way."""
        self._early: list[tuple[bool, str, Sequence[Any]]] = []
        """Rows of changes before the one under way that would be undone with it, and so would have to be run again."""
        self.apart = _Apart(self._save, connection)
        """Runs statements on tables that nobody adds rows to: what waits goes on waiting."""
        self._saved = True
        """Whether what the change under way does can be undone at the database; outside a change, nothing need be."""

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement, on all that was written before it."""
        self.flush()
        return self._connection.execute(statement, parameters)

    def add(self, statement: str, row: Sequence[Any]) -> None:
        """Run one statement at some time before the next `execute` or the commit, in any order with others' rows.

        It must not fail: if it does, so does the whole transaction.
        """
        self._waiting.append((False, statement, row))

    def take(self, statement: str, row: Sequence[Any]) -> None:
        """Do the same for a statement that takes rows away: it runs after all that add some."""
        self._waiting.append((True, statement, row))

    def flush(self) -> None:
        """Run what waits, and see to it that what comes now can be undone."""
        self._save()
        if self._waiting:
            self._early += self._waiting[: self._before]
            self._run(self._waiting)
            self._waiting, self._before = [], 0

    def _save(self) -> None:
        if not self._saved:
            self._connection.execute("SAVEPOINT change")
            self._saved = True

    def _run(self, waiting: Sequence[tuple[bool, str, Sequence[Any]]]) -> None:
        rows: dict[tuple[bool, str], list[Sequence[Any]]] = {}
        for takes, statement, row in waiting:
            rows.setdefault((takes, statement), []).append(row)
        try:
            for key in sorted(rows, key=lambda key: key[0]):
                self._connection.executemany(key[1], rows[key])
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
