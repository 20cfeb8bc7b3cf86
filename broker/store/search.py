"""The search index: which calls and events match a filter, and which records are theirs.

A file of its own beside the store, made of the trail alone. Whatever is wrong with it, it is made anew.
"""

import contextlib
import itertools
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from broker.audit import Filter
from broker.errors import IndexUnavailable
from broker.store.entries import entry_of
from broker.store.indexing import fill, is_of_the_system, is_whole, make, progress
from broker.store.matching import members, newest, of_run

_BUSY_SECONDS = 2.0
_MOST_RECORDS = 16  # of one entry, that are read for a page; a call has three
_RECORDS = """
SELECT seq, CAST(body AS BLOB) FROM trail.records
WHERE seq = ?1 OR call_id = (SELECT call_id FROM trail.records WHERE seq = ?1) ORDER BY seq LIMIT ?2
"""


class SearchIndex:
    """The index of one store's trail; use it in worker threads.

    Every method but `size` raises `IndexUnavailable` where it cannot do its work; the next `catch_up` looks for the
    cause, and makes an index anew that is damaged, of another trail or of another version of this program.
    """

    def __init__(self, store: Path) -> None:
        self.path = store.with_name(store.name + ".index")
        self._store = store
        self._lock = threading.Lock()
        self._closed = False
        self._kept: sqlite3.Connection | None = None
        """What is written with. The last connection that goes moves the log into the file, which takes its time."""
        self._size = 0
        self._sound: tuple[int, int] | None = None
        """Which file was found to be a sound index of this trail; None if it must be looked at."""

    @property
    def size(self) -> int:
        """How many records are indexed; asks the disk for no more than whether the file is still there."""
        return self._size if self._is_sound() else 0

    def catch_up(self, limit: int) -> int:
        """Index the next records, `limit` at most, and return how many. After a crash, all of them stand or none."""
        with self._lock, self._explaining():
            if self._closed:
                return 0
            if not self._is_sound():
                self._look_over()
            try:
                return self._fill(limit)
            except sqlite3.Error:
                self._let_go()  # which undoes what was begun
                raise

    def rebuild(self) -> None:
        """Throw the index away for an empty one; catching up begins with the first record."""
        with self._lock, self._explaining():
            self._let_go()
            self._make_anew()

    def search(self, wanted: Filter, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Return the newest entries that match, the newest first, `limit` at most; only those below `before`.

        An entry is a call or an event, under the number of its first record; what it says is read from the trail. As
        long as nothing is indexed, nothing is found.
        """
        if not self.path.exists():
            return []
        with self._reading(0) as connection:
            return _entries(connection, newest(connection, wanted, before, limit))

    def of_run(self, run: str, limit: int) -> list[dict[str, Any]]:
        """Return the first calls that share a trace id, in order, `limit` at most, as far as they are indexed."""
        if not self.path.exists():
            return []
        with self._reading(0) as connection:
            return _entries(connection, of_run(connection, run, limit))

    def selected(self, wanted: Filter, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of the records, start to stop - 1, whose call or event matches, in order: (first, last + 1).

        A call matches as a whole. In constant memory, of one state of the index. Raises `IndexUnavailable`, before
        the first range, if the index is not as far as `stop`: what is not indexed is not left out in silence.
        """
        with self._reading(stop) as connection:
            begun = ended = start
            for seq in members(connection, wanted, start, stop):
                if seq != ended:
                    if begun < ended:
                        yield begun, ended
                    begun = seq
                ended = seq + 1
            if begun < ended:
                yield begun, ended

    def close(self) -> None:
        """Wait for what is being indexed, and index nothing more."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _fill(self, limit: int) -> int:
        connection = self._kept = self._kept or _connect(self.path)
        self._attach_trail(connection)
        start = progress(connection)
        self._size = fill(connection, start, limit)
        connection.execute("DETACH trail")
        return self._size - start

    def _look_over(self) -> None:
        """Keep the file that is there, if it is a sound index of this trail; else make an empty one."""
        self._let_go()
        if self.path.exists():
            try:
                with self._connected() as connection:
                    if is_whole(connection):
                        self._size = progress(connection)
                        self._sound = _file(self.path)
                        return
            except sqlite3.Error as error:
                if is_of_the_system(error):
                    raise
        self._make_anew()

    def _make_anew(self) -> None:
        """Put an empty index in the place of what is there, for its owner only; nobody finds it half made."""
        self._sound = None
        new = self.path.with_name(self.path.name + ".new")
        for path, end in itertools.product((self.path, new), ("", "-wal", "-shm")):
            Path(f"{path}{end}").unlink(missing_ok=True)  # a log that is left over is no part of a new file
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(_connect(new)) as connection:
            make(connection)
        new.replace(self.path)
        self._sound, self._size = _file(self.path), 0

    def _is_sound(self) -> bool:
        return self._sound is not None and _file(self.path) == self._sound

    @contextlib.contextmanager
    def _reading(self, stop: int) -> Iterator[sqlite3.Connection]:
        """Yield a connection that reads one state of the index, of `stop` records at least."""
        with self._explaining(), self._connected() as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            if progress(connection) < stop:
                raise IndexUnavailable(f"The search index is not as far as record {stop - 1} yet; try again.")
            yield connection

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._sound = None
            raise IndexUnavailable(detail=f"the search index: {error}") from None

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(_connect(self.path)) as connection:
            self._attach_trail(connection)
            yield connection

    def _attach_trail(self, connection: sqlite3.Connection) -> None:
        """Let a connection read the trail; it cannot write to it."""
        connection.execute("ATTACH ? AS trail", (f"{self._store.as_uri()}?mode=ro",))

    def _let_go(self) -> None:
        if self._kept is not None:
            self._kept.close()
        self._kept = None


def _entries(connection: sqlite3.Connection, seqs: list[int]) -> list[dict[str, Any]]:
    return [entry_of(seq, connection.execute(_RECORDS, (seq, _MOST_RECORDS)).fetchall()) for seq in seqs]


def _file(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    place = f"{path.as_uri()}?mode=rw"
    connection = sqlite3.connect(place, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA synchronous = NORMAL")  # whole after a crash, though not to the last record
    except sqlite3.Error:
        connection.close()
        raise
    return connection
