"""Every line of SQL, and the commit queue: SQLite, embedded; the daemon alone opens it.

A second daemon on the same store is refused. Readers use connections of their own and never wait for the writer.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import sqlite_utils
from sqlite_utils.migrations import Migrations

from broker.errors import AuditUnavailable, StoreInUse, StoreUnusable
from broker.store.grants import GrantRow, GrantStatus, GrantTable
from broker.store.history import HistoryTable, SetRow
from broker.store.queue import CommitQueue, Pending
from broker.store.settings import SettingTable
from broker.store.trail import TrailTable
from broker.store.transaction import Transaction

__all__ = ["CommitQueue", "Connection", "GrantRow", "GrantStatus", "Pending", "SetRow", "Store", "Transaction"]

Connection = sqlite3.Connection
"""What a query is given to read with."""

T = TypeVar("T")
_MIGRATIONS = Migrations("broker")
_BUSY_SECONDS = 2.0


class Store:
    """An open store: the tables, and the queue through which everything durable goes."""

    def __init__(self, path: Path, lock: IO[str], log: str) -> None:
        self._path = path
        self._file = _file(path)
        self._lock = lock
        self.settings = SettingTable()
        self.grants = GrantTable()
        self.trail = TrailTable(log)
        self.history = HistoryTable()
        self.commits = CommitQueue(
            self._connected, lambda connection: {self.trail.HEAD: self.trail.restore(connection)}, self._check_file
        )

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
                _MIGRATIONS.apply(sqlite_utils.Database(connection))
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

    def close(self) -> None:
        """Finish what is queued and let go of the store."""
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
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns
        connection.execute("PRAGMA secure_delete = FAST")  # what is taken away is overwritten
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@_MIGRATIONS()
def trail(database: Any) -> None:
    """Make room for records, the stored nodes of their tree, and calls that are decided and not finished."""
    database["records"].create({"seq": int, "body": bytes, "hash": bytes, "call_id": str}, pk="seq")
    database["records"].create_index(["call_id"], index_name="records_by_call")
    database["nodes"].create({"level": int, "position": int, "hash": bytes}, pk=("level", "position"))
    database["open_calls"].create({"call_id": str, "decided": str}, pk="call_id")


@_MIGRATIONS()
def vault(database: Any) -> None:
    """Make room for sealed grants, and the few values that belong to the store itself."""
    database["grants"].create(
        {
            "id": str,
            "connector": str,
            "principal": str,
            "kind": str,
            "status": str,
            "scopes": str,
            "public": str,
            "version": int,
            "key_id": str,
            "sealed": str,
            "created": str,
            "changed": str,
        },
        pk="id",
        not_null={"connector", "principal", "kind", "status", "version", "key_id", "sealed"},
    )
    database["grants"].create_index(["connector", "principal"])
    database["settings"].create({"name": str, "value": str}, pk="name")


@_MIGRATIONS()
def history(database: Any) -> None:
    """Make room for the sets of documents that came into force, and for what stood in their files."""
    database["document_files"].create({"sha256": str, "content": bytes}, pk="sha256", not_null={"content"})
    database["document_sets"].create(
        {
            "seq": int,
            "record": str,
            "kind": str,
            "time": str,
            "digest": str,
            "files": str,
            "outline": str,
            "agents": str,
            "facts": str,
        },
        pk="seq",
        not_null={"digest", "files"},
    )
    database["document_sets"].create_index(["digest"], index_name="sets_by_digest")
