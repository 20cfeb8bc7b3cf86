"""Every line of SQL, and the commit queue: SQLite, embedded; the daemon alone opens it.

A second daemon on the same store is refused. Readers use connections of their own and never wait for the writer.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Self, TypeVar

import sqlite_utils

from broker.errors import AuditUnavailable, StoreInUse, StoreUnusable
from broker.store.access_keys import AccessKeyRow, AccessKeyTable
from broker.store.approvals import ApprovalRow, ApprovalStatus, ApprovalTable
from broker.store.assertions import AssertionTable
from broker.store.budgets import SPENT_BY, BudgetTable, HoldRow, RaiseRow, SettledPart, SpentRow, WindowKey
from broker.store.grants import GrantRow, GrantStatus, GrantTable
from broker.store.history import HistoryTable, SetRow
from broker.store.holds import Hold, HoldTable
from broker.store.limits import LimitTable
from broker.store.lookups import LookupRow, LookupTable
from broker.store.migrations import MIGRATIONS
from broker.store.payloads import PayloadTable
from broker.store.queue import CommitQueue, Pending
from broker.store.search import SearchIndex
from broker.store.settings import SettingTable
from broker.store.signing import SigningKeyRow, SigningKeyTable
from broker.store.suspensions import Scope, Suspension, SuspensionTable
from broker.store.trail import TrailTable
from broker.store.transaction import Transaction

__all__ = [
    "SPENT_BY",
    "AccessKeyRow",
    "ApprovalRow",
    "ApprovalStatus",
    "CommitQueue",
    "Connection",
    "GrantRow",
    "GrantStatus",
    "Hold",
    "HoldRow",
    "LookupRow",
    "Pending",
    "RaiseRow",
    "Scope",
    "SearchIndex",
    "SetRow",
    "SettledPart",
    "SigningKeyRow",
    "SpentRow",
    "Store",
    "Suspension",
    "Transaction",
    "WindowKey",
]

Connection = sqlite3.Connection
"""What a query is given to read with."""

T = TypeVar("T")
_BUSY_SECONDS = 2.0
_PAGE_BYTES = 8192  # half as many writes for the records of many callers as with 4096, and no more for those of one
_CHECKPOINT_PAGES = 2000  # of the write-ahead log, 16 MB: moving them costs syncs, and few calls should wait for those
_FOLDING_MILLISECONDS = 200  # it holds up the writer while it waits for readers


class Store:
    """An open store: the tables, and the queue through which everything durable goes."""

    def __init__(self, path: Path, lock: IO[str], log: str) -> None:
        self._path = path
        self._file = _file(path)
        self._lock = lock
        self.settings = SettingTable()
        self.grants = GrantTable()
        self.assertions = AssertionTable()
        self.access_keys = AccessKeyTable()
        self.signing_keys = SigningKeyTable()
        self.trail = TrailTable(log)
        self.payloads = PayloadTable()
        self.holds = HoldTable()
        self.limits = LimitTable()
        self.search = SearchIndex(path)
        self.history = HistoryTable()
        self.suspensions = SuspensionTable()
        self.approvals = ApprovalTable()
        self.budgets = BudgetTable()
        self.lookups = LookupTable()
        self.commits = CommitQueue(
            self._connected, lambda connection: {self.trail.HEAD: self.trail.restore(connection)}, self._check_file
        )

    @property
    def files(self) -> dict[str, Path]:
        """Where it keeps what: the database, the log of what is not in it yet, and the search index."""
        log = self._path.with_name(self._path.name + "-wal")
        return {"database": self._path, "log": log, "index": self.search.path}

    @classmethod
    def open(cls, path: Path, log: str) -> Self:
        """Open the store, made or brought up to date if need be.

        `log` names the trail's log, for the life of the store. Raises `StoreInUse` if a daemon has it open, and
        `StoreUnusable` if it cannot be used, is of another log, or is not as it was left.
        """
        try:
            path = path.resolve()  # another name for the same store is no other store
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.fdopen(os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600), "r+")
        except OSError as error:
            raise StoreUnusable(f"The store {path} cannot be opened: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StoreInUse(f"Another broker is using the store {path}; stop it first.") from None
        try:
            path.touch(mode=0o600)
            with contextlib.closing(_connect(path)) as connection:
                MIGRATIONS.apply(sqlite_utils.Database(connection))
            return cls(path, lock, log)
        except (sqlite3.Error, OSError, ValueError) as error:
            lock.close()
            raise StoreUnusable(f"The store {path} cannot be used: {error}.") from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that reads one consistent state and cannot write; for use in one thread.

        Raises `AuditUnavailable` if the store cannot be read.
        """
        try:
            with contextlib.closing(self._connected()) as connection:
                connection.execute("PRAGMA query_only = ON")
                connection.execute("BEGIN")
                connection.execute("SELECT 1 FROM records LIMIT 1").fetchone()  # the state is that of now, not of later
                yield connection
        except sqlite3.Error as error:
            raise AuditUnavailable(detail=f"the store cannot be read: {error}") from None

    def _connected(self) -> sqlite3.Connection:
        self._check_file()
        return _connect(self._path)

    def _check_file(self) -> None:
        """Refuse to go on with a file that has been taken away or replaced: what it holds is lost with it."""
        if _file(self._path) != self._file:
            raise sqlite3.DatabaseError("the store's file has been taken away while it was open")

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run one query on a connection of its own; call it in a worker thread."""
        with self.reading() as connection:
            return query(connection)

    def fold_log(self) -> bool:
        """Write the write-ahead log into the database and empty it, so that what was deleted stands in neither.

        False if a reader, or a writer, kept it from that. Call it in a worker thread.
        """
        try:
            with contextlib.closing(self._connected()) as connection:
                connection.execute(f"PRAGMA busy_timeout = {_FOLDING_MILLISECONDS}")
                (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            return False
        return not busy

    def close(self) -> None:
        """Finish what is queued and let go of the store."""
        self.search.close()
        self.commits.close()
        self._lock.close()


def _file(path: Path) -> tuple[int, int] | None:
    """Tell which file a path names now."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a store that is made now
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA secure_delete = ON")  # what is taken away is overwritten; FAST leaves whole pages
    except sqlite3.Error:
        connection.close()
        raise
    return connection
