"""A transaction: what the changes of one commit write with."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_MOST_PARAMETERS = 30_000  # SQLite takes 32,766 in one statement


@dataclass(frozen=True, slots=True)
class Rows:
    """A table's columns, to which rows are added in bulk."""

    table: str
    columns: tuple[str, ...]


class Transaction:
    """What a change is given: a way to write, and values that live and die with the transaction.

    Rows that are only added or taken away wait until the commit, where all changes' rows go in one statement for each
    table: every statement hands the interpreter's lock back and forth, and that, not SQLite, is what costs. A value
    (the trail's head) stands in memory only as far as it stands on disk.
    """

    def __init__(self, connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self._connection = connection
        self._added: dict[Rows, list[Sequence[Any]]] = {}
        self._removed: dict[tuple[str, str], list[Any]] = {}
        self._savepoint = False

    def add(self, rows: Rows, row: Sequence[Any]) -> None:
        """Insert a row by the time of the commit."""
        self._added.setdefault(rows, []).append(row)

    def remove(self, table: str, column: str, value: Any) -> None:
        """Delete the rows that have a value, by the time of the commit and after all that is added."""
        self._removed.setdefault((table, column), []).append(value)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement now."""
        if not self._savepoint:
            self._connection.execute("SAVEPOINT change")
            self._savepoint = True
        return self._connection.execute(statement, parameters)

    def apply(self, change: Callable[["Transaction"], T]) -> T:
        """Run one change; if it raises, undo what it did and nothing else."""
        values = dict(self.values)
        added = {rows: len(waiting) for rows, waiting in self._added.items()}
        removed = {place: len(waiting) for place, waiting in self._removed.items()}
        try:
            result = change(self)
        except Exception:
            self.values = values
            for rows, waiting in self._added.items():
                del waiting[added.get(rows, 0) :]
            for place, gone in self._removed.items():
                del gone[removed.get(place, 0) :]
            if self._savepoint:
                self._connection.execute("ROLLBACK TO change")
            raise
        finally:
            if self._savepoint:
                self._connection.execute("RELEASE change")
                self._savepoint = False
        return result

    def flush(self) -> None:
        """Write what waits."""
        for rows, waiting in self._added.items():
            places = f"({', '.join('?' * len(rows.columns))})"
            for page in _pages(waiting, _MOST_PARAMETERS // len(rows.columns)):
                self._connection.execute(
                    f"INSERT INTO {rows.table} ({', '.join(rows.columns)}) VALUES {', '.join([places] * len(page))}",  # noqa: S608 - names are constants of ours
                    [value for row in page for value in row],
                )
        for (table, column), gone in self._removed.items():
            for page in _pages(gone, _MOST_PARAMETERS):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE {column} IN ({', '.join('?' * len(page))})",  # noqa: S608 - names are constants of ours
                    page,
                )


def _pages(waiting: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(waiting), size):
        yield waiting[start : start + size]
