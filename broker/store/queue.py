"""The commit queue: everything durable is done by one writer, and all who wait share one commit.

A change that fails undoes and fails only itself. The queue knows neither money nor records.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from broker.errors import AuditUnavailable
from broker.store.transaction import Transaction

T = TypeVar("T")
_MOST_AT_ONCE = 512
_PROBE_SECONDS = 1.0
SLOW_SECONDS = 5.0
"""A commit that takes longer is not waited for."""
# What SQLite says of a statement or its values; everything else it says of the store itself
_OF_THE_CHANGE = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


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

    def fail(self, error: Exception) -> None:
        """Take back that it was applied: it has failed, or the transaction that it stood in."""
        self.applied, self.error = False, error

    def answer(self) -> None:
        """Tell whoever waits; call it on the event loop."""
        if self.done.cancelled():
            return
        if self.error is None:
            self.done.set_result(self.result)  # type: ignore[arg-type] # what the change returned
        else:
            self.done.set_exception(self.error)
            self.done.exception()  # whoever stopped waiting is not warned about it


class CommitQueue:
    """One writer thread and its queue. Use it from one event loop.

    `load` reads the transactions' values from a fresh connection: at the start, and after every failure, when only the
    disk knows whether the last commit is there: it is, if the values are those that it would have left. `check` raises
    `sqlite3.Error` if a commit would go nowhere.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        load: Callable[[sqlite3.Connection], Mapping[str, Any]],
        check: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._check = check
        self._load = load
        self._waiting: queue.SimpleQueue[Pending[Any] | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._values: Mapping[str, Any] = {}
        self._doubtful: tuple[Mapping[str, Any], list[Pending[Any]]] | None = None
        """What the commit under way will leave, and its changes: whether it did, the disk may have to be asked."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._since: float | None = None
        """When the commit that is under way began."""
        self.failing = False
        """Whether the store refused the last commit. While it is so, the writer tries again every second."""
        self.failures = 0
        """How many commits the store has refused."""
        self.watch: Callable[[float, int], None] = lambda _seconds, _changes: None
        """Told of each commit, in the writer's thread: how long it took, and of how many changes it was."""
        self._connected()
        self._writer = threading.Thread(target=self._write, name="store-writer", daemon=True)
        self._writer.start()

    @property
    def values(self) -> Mapping[str, Any]:
        """The transaction values as last committed."""
        return self._values

    @property
    def stalled(self) -> bool:
        """Whether the commit under way takes so long that nothing more should wait for the disk."""
        since = self._since
        return since is not None and time.monotonic() - since > SLOW_SECONDS

    def submit(self, change: Callable[[Transaction], T]) -> Pending[T]:
        """Queue a change, at once and without waiting; changes are applied in the order of their submission."""
        loop = self._loop = asyncio.get_running_loop()
        pending = Pending(change, loop.create_future())
        if self._closed:
            pending.fail(AuditUnavailable(detail="the store is closed"))
            pending.answer()
        else:
            self._waiting.put(pending)
        return pending

    async def commit(self, change: Callable[[Transaction], T]) -> T:
        """Queue a change and return its result once it is durable; raise its error, or `AuditUnavailable`."""
        return await self.submit(change).done

    async def durable(self, pending: Pending[T]) -> T:
        """Wait for a change to be durable and return its result; raise its error.

        Raises `AuditUnavailable` where the disk takes too long; the change may be durable later all the same. What the
        commit under way has taken already counts, so a call that gave up at its beginning does not wait for its end.
        """
        await asyncio.wait((pending.done,), timeout=self._patience())  # who gives up waiting does not undo it
        if not pending.done.done():
            raise AuditUnavailable(detail="the disk takes too long")
        return pending.done.result()

    def _patience(self) -> float:
        """Return for how many seconds more the commit under way is waited for."""
        since = self._since
        return SLOW_SECONDS if since is None else SLOW_SECONDS - (time.monotonic() - since)

    def close(self) -> None:
        """Write what is queued, then end the writer; what is submitted later fails."""
        self._closed = True
        self._waiting.put(None)
        self._writer.join()

    def _write(self) -> None:
        closing = False
        while not closing:
            batch = [self._next()]
            while len(batch) < _MOST_AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get())
            closing = None in batch
            changes = [pending for pending in batch if pending is not None]
            if changes:
                self._commit(changes)
                self._answer(changes)
        self._drop_connection()

    def _next(self) -> Pending[Any] | None:
        """Wait for a change. While the store fails, see meanwhile whether it takes anything again."""
        while True:
            try:
                return self._waiting.get(timeout=_PROBE_SECONDS if self.failing else None)
            except queue.Empty:
                self._commit([])

    def _commit(self, changes: list[Pending[Any]]) -> None:
        """Apply the changes in one transaction; if it fails, all of them fail."""
        began = self._since = time.monotonic()
        try:
            self._commit_together(changes)
            self.failing = False
        except Exception as error:  # noqa: BLE001 - whatever it is, the writer lives on and everyone is answered
            self._drop_connection()
            for pending in changes:
                if pending.error is None:
                    pending.fail(AuditUnavailable(detail=f"the store failed: {error}"))
            self.failing = True
            self.failures += 1
            with contextlib.suppress(sqlite3.Error):  # as long as the disk cannot be asked, they have failed
                self._connected()
        finally:
            self._since = None
            with contextlib.suppress(Exception):  # whatever watches, the writer lives on
                self.watch(time.monotonic() - began, len(changes))

    def _commit_together(self, changes: list[Pending[Any]]) -> None:
        connection = self._connected()
        transaction = Transaction(connection, self._values)
        connection.execute("BEGIN IMMEDIATE")
        for pending in changes:
            _apply(pending, transaction)
        transaction.flush()
        if not changes:
            connection.execute("PRAGMA user_version = 0")  # changes nothing, but is written like any change
        self._doubtful = transaction.values, [pending for pending in changes if pending.error is None]
        self._check()
        connection.execute("COMMIT")
        self._doubtful = None
        self._values = transaction.values

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._connect()
            try:
                found = dict(self._load(connection))
            except (sqlite3.Error, ValueError) as error:
                connection.close()
                raise sqlite3.DatabaseError(str(error)) from None
            self._settle_doubt(found)
            self._connection, self._values = connection, found
        return self._connection

    def _settle_doubt(self, found: Mapping[str, Any]) -> None:
        """Take back that the last commit failed, if it stands all the same."""
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None and doubtful[0] == found != self._values:
            for pending in doubtful[1]:
                pending.applied, pending.error = True, None

    def _drop_connection(self) -> None:
        """Start afresh next time: closing rolls back whatever a broken transaction left."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _answer(self, changes: list[Pending[Any]]) -> None:
        def resolve() -> None:
            for pending in changes:
                pending.answer()

        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(resolve)


def _apply(pending: Pending[Any], transaction: Transaction) -> None:
    pending.error = None
    try:
        pending.result = transaction.apply(pending.change)
        pending.applied = True
    except Exception as error:
        if _is_of_the_store(error):
            raise
        pending.error = error


def _is_of_the_store(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and not isinstance(error, _OF_THE_CHANGE)
