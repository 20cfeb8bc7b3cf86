"""The commit queue: everything durable is done by one writer, and all who wait share one commit.

A change that fails undoes and fails only itself. The queue knows neither money
nor records.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from broker.errors import AuditUnavailable

T = TypeVar("T")
_MOST_AT_ONCE = 512
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


class Pending(Generic[T]):
    """A change on its way to disk. Await `done` for its result: durable once that returns."""

    __slots__ = ("applied", "change", "done", "error", "result")

    def __init__(self, change: Callable[[Transaction], T], done: "asyncio.Future[T]") -> None:
        self.change = change
        self.done = done
        self.applied = False
        """Read by later changes: this one stands in their transaction or in one before it."""
        self.result: T | None = None
        self.error: Exception | None = None


class CommitQueue:
    """One writer thread and its queue. Use it from one event loop."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], values: Mapping[str, Any]) -> None:
        self._connect = connect
        self._values: Mapping[str, Any] = dict(values)
        self._waiting: queue.SimpleQueue[Pending[Any] | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failing = False
        """Whether the last commit failed."""
        self._writer = threading.Thread(target=self._write, name="store-writer", daemon=True)
        self._writer.start()

    @property
    def values(self) -> Mapping[str, Any]:
        """The transaction values as last committed."""
        return self._values

    def submit(self, change: Callable[[Transaction], T]) -> Pending[T]:
        """Queue a change, at once and without waiting; changes are applied in the order of their submission."""
        loop = self._loop = asyncio.get_running_loop()
        pending = Pending(change, loop.create_future())
        self._waiting.put(pending)
        return pending

    async def commit(self, change: Callable[[Transaction], T]) -> T:
        """Queue a change and return its result once it is durable; raise its error, or `AuditUnavailable`."""
        return await self.submit(change).done

    def close(self) -> None:
        """Write what is queued, then end the writer."""
        self._waiting.put(None)
        self._writer.join()

    def _write(self) -> None:
        closing = False
        while not closing:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get())
            closing = None in batch
            changes = [pending for pending in batch if pending is not None]
            if changes:
                self._commit(changes)
                self._answer(changes)
        if self._connection is not None:
            self._connection.close()

    def _commit(self, changes: list[Pending[Any]]) -> None:
        """Apply the changes in one transaction; on a failure of the store, all of them fail."""
        try:
            connection = self._connection = self._connection or self._connect()
            transaction = Transaction(connection, self._values)
            connection.execute("BEGIN IMMEDIATE")
            for pending in changes:
                _apply(pending, transaction)
            transaction.flush()
            connection.execute("COMMIT")
            self._values = transaction.values
            self.failing = False
        except sqlite3.Error as error:
            self._drop_connection()
            self.failing = True
            for pending in changes:
                pending.applied = False
                pending.error = AuditUnavailable(detail=f"the store failed: {error}")

    def _drop_connection(self) -> None:
        """Start afresh next time: closing rolls back whatever a broken transaction left."""
        try:
            if self._connection is not None:
                self._connection.close()
        except sqlite3.Error:
            pass
        self._connection = None

    def _answer(self, changes: list[Pending[Any]]) -> None:
        def resolve() -> None:
            for pending in changes:
                if pending.done.cancelled():
                    continue
                if pending.error is None:
                    pending.done.set_result(pending.result)
                else:
                    pending.done.set_exception(pending.error)
                    pending.done.exception()  # whoever stopped waiting is not warned about

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(resolve)


def _apply(pending: Pending[Any], transaction: Transaction) -> None:
    try:
        pending.result = transaction.apply(pending.change)
        pending.applied = True
    except Exception as error:
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            raise  # the store itself failed, for everybody
        pending.error = error
