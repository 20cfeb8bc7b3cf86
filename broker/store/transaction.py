"""A transaction: what the changes of one commit write with."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Transaction:
    """What a change is given: a way to write, and values that live and die with the transaction.

    A value (the trail's head) stands in memory only as far as it stands on disk.
    """

    def __init__(self, connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._connection.execute(statement, parameters)

    def apply(self, change: Callable[["Transaction"], T]) -> T:
        """Run one change; if it raises, undo what it did and nothing else."""
        values = dict(self.values)
        self._connection.execute("SAVEPOINT change")
        try:
            result = change(self)
        except Exception as error:
            self.values = values
            try:
                self._connection.execute("ROLLBACK TO change")
                self._connection.execute("RELEASE change")
            except sqlite3.Error:  # where the disk is full, SQLite has undone the whole transaction already
                raise sqlite3.OperationalError(str(error)) from error
            raise
        self._connection.execute("RELEASE change")
        return result
