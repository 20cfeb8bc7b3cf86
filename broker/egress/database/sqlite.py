"""SQLite: a file that is opened for one statement, under an authorizer, with caps on its time and size."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from broker.egress.client import Dispatch, Limits
from broker.egress.database.permitted import Changed, Permitted, Rows
from broker.errors import (
    EgressDenied,
    Refusal,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamInterrupted,
    UpstreamRejected,
    UpstreamTooLarge,
    UpstreamUnreachable,
)

T = TypeVar("T")
_THREADS = anyio.CapacityLimiter(16)
_STEPS = 2000  # instructions between two looks at the clock
_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})
_CHANGING = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_CAPS = {
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
}


async def read(
    file: str,
    limits: Limits,
    dispatch: Dispatch,
    statement: str,
    parameters: Sequence[Any],
    most: int,
    permitted: Permitted | None,
) -> Rows:
    """Run a statement that only reads."""

    def work(connection: sqlite3.Connection) -> Rows:
        dispatch.sent = True
        if permitted is not None:
            connection.set_authorizer(_authorizer(permitted, writing=False))
        rows, size = [], 0
        for row in connection.execute(statement, _named(parameters)):
            size += sum(len(str(value)) for value in row)
            if size > limits.response_bytes:
                raise UpstreamTooLarge(detail=f"over {limits.response_bytes} bytes")
            rows.append(row)
            if len(rows) >= most:
                break
        return Rows(rows)

    return await _run(file, "ro", limits, work)


async def write(
    file: str,
    limits: Limits,
    dispatch: Dispatch,
    statement: str,
    parameters: Sequence[Any],
    changed: Changed,
    permitted: Permitted,
) -> None:
    """Run a statement that changes rows, in one transaction; whoever is cut off cannot know whether it is final."""
    dispatch.sent = True  # before there is a thread, which may wait for a lock when nobody waits for it any more
    given_up = threading.Event()

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        connection.set_authorizer(_authorizer(permitted, writing=True))
        try:
            cursor = connection.execute(statement, _named(parameters))
            rows = Rows(cursor.fetchall())
            changed(rows, len(rows.rows))
            if given_up.is_set():
                raise UpstreamInterrupted(detail="cut off before it was final, and undone")
        except BaseException:
            connection.set_authorizer(None)
            connection.execute("ROLLBACK")
            raise
        connection.set_authorizer(None)
        connection.execute("COMMIT")

    try:
        await _run(file, "rw", limits, work)
    finally:
        given_up.set()


async def _run(file: str, mode: str, limits: Limits, work: Callable[[sqlite3.Connection], T]) -> T:
    """Work in a thread with a connection of its own; cancelling interrupts the statement that is under way."""
    held: list[sqlite3.Connection] = []

    def working() -> T:
        with _opened(file, mode, limits) as connection:
            held.append(connection)
            return work(connection)

    try:
        return await anyio.to_thread.run_sync(working, limiter=_THREADS, abandon_on_cancel=True)
    except anyio.get_cancelled_exc_class():
        for connection in held:
            with contextlib.suppress(sqlite3.ProgrammingError):  # it has ended by itself meanwhile
                connection.interrupt()
        raise
    except sqlite3.Error as error:
        refusal = _refused(error, limits)
    except (OverflowError, UnicodeError, ValueError) as error:
        refusal = UpstreamRejected("The database does not take a value as it is.", detail=type(error).__name__)
    raise refusal


@contextlib.contextmanager
def _opened(file: str, mode: str, limits: Limits) -> Iterator[sqlite3.Connection]:
    path = Path(file).absolute()
    if not path.is_file():  # opened for writing, SQLite would make one
        raise UpstreamUnreachable("The database's file is not there; an administrator must look.", detail="no file")
    uri = f"{path.as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        for category, most in _CAPS.items():
            connection.setlimit(category, most)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.response_bytes)
        connection.execute("PRAGMA trusted_schema = OFF")  # no view or trigger reaches a function with side effects
        connection.execute("PRAGMA cell_size_check = ON")
        if mode == "ro":
            connection.execute("PRAGMA query_only = ON")
        deadline = time.monotonic() + limits.total_seconds
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        yield connection
    finally:
        connection.close()


def _named(parameters: Sequence[Any]) -> dict[str, Any]:
    return {f"p{number}": value for number, value in enumerate(parameters, 1)}


def _authorizer(permitted: Permitted, *, writing: bool) -> Callable[..., int]:
    """Return what SQLite asks about each thing that a statement does, while it prepares it.

    What a view or a trigger touches is that view's or trigger's: whoever made the database has given it to them. A
    statement that writes is the connector's own; of it the foreign keys of other tables are read too.
    """

    def decide(action: int, first: str | None, second: str | None, _database: str | None, within: str | None) -> int:
        within = None if within in permitted.parts else within
        allowed = action in _READING or (writing and within is None and _changes(action, first, permitted))
        if within is not None:
            allowed = allowed or action in {sqlite3.SQLITE_READ, *(_CHANGING if writing else ())}
        elif action == sqlite3.SQLITE_READ and writing:
            allowed = True
        elif action == sqlite3.SQLITE_READ:
            # A table of which nothing but the number of its rows is asked is read at no column
            columns = permitted.columns.get((first or "").lower())
            allowed = columns is not None and (not second or second.lower() in columns)
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = (second or "").lower() in permitted.functions
        return sqlite3.SQLITE_OK if allowed else _DENY

    return decide


_DENY = sqlite3.SQLITE_DENY


def _changes(action: int, table: str | None, permitted: Permitted) -> bool:
    return action in _CHANGING and (table or "").lower() in permitted.columns


def _refused(error: sqlite3.Error, limits: Limits) -> Refusal:
    """Return one of our refusals: SQLite's own words name tables and quote values."""
    name = getattr(error, "sqlite_errorname", "")
    detail = f"SQLite {name or type(error).__name__}"
    if name == "SQLITE_AUTH":
        return EgressDenied("The statement would touch what it may not.", detail=detail)
    if name == "SQLITE_INTERRUPT":
        return UpstreamRejected(
            f"The database gave the statement up after {limits.total_seconds:g} seconds; make it narrower.",
            detail=detail,
        )
    if name.startswith("SQLITE_CONSTRAINT"):
        return UpstreamRejected(_CONSTRAINTS.get(name, "The row would break a rule of its table."), detail=detail)
    if name in {"SQLITE_BUSY", "SQLITE_LOCKED"}:
        return UpstreamBusy("The database is locked by another; try again.", detail=detail, retry_after=1)
    if name.startswith("SQLITE_READONLY"):
        return UpstreamForbidden(detail=detail)
    if name == "SQLITE_TOOBIG":
        return UpstreamTooLarge(detail=detail)
    if name in {"SQLITE_ERROR", "SQLITE_MISMATCH"} or isinstance(
        error, sqlite3.InterfaceError | sqlite3.ProgrammingError
    ):
        return UpstreamRejected(
            "The database does not take the statement: a function or operator that it does not have, or a table that "
            "is no longer as it was pinned.",
            detail=detail,
        )
    return UpstreamFailed(detail=detail)


_CONSTRAINTS = {
    "SQLITE_CONSTRAINT_UNIQUE": "There is a row with this value already, and the value may occur once only.",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "There is a row with this key already.",
    "SQLITE_CONSTRAINT_NOTNULL": "The table demands a column that was not given.",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "The row refers to another that is not there, or another refers to it.",
}
