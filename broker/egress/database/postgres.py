"""PostgreSQL: a connection for one statement, to an address that was checked, over TLS, as the grant's user."""

import asyncio
import base64
import binascii
import contextlib
import ipaddress
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.egress.client import Dispatch, Limits
from broker.egress.database.permitted import Changed, Rows
from broker.egress.database.place import DatabasePlace
from broker.egress.reach import CheckedResolver, Reach
from broker.egress.session import Authorization
from broker.errors import (
    EgressDenied,
    ExtraMissing,
    GrantMisplaced,
    Refusal,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamInterrupted,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)

logging.getLogger("psycopg").disabled = True  # it would write the server's own words

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    Connection = AsyncConnection[tuple[Any, ...]]

_SYSTEM_TRUST = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
# Nothing but what PostgreSQL itself brings is found without its schema: no function or operator of anybody else's
_SETTINGS = (
    "SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = {milliseconds}; "
    "SET LOCAL lock_timeout = {milliseconds}; SET LOCAL idle_in_transaction_session_timeout = {milliseconds}; "
    "SET LOCAL standard_conforming_strings = on; SET LOCAL row_security = on; SET LOCAL datestyle = 'ISO, YMD'; "
    "SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL timezone = 'UTC'"
)


@contextlib.asynccontextmanager
async def connected(
    place: DatabasePlace, reach: Reach, limits: Limits, authority: str | None, authorization: Authorization
) -> AsyncIterator["Connection"]:
    """Connect as the grant's user; close the connection in the end, which also ends what still runs in it."""
    psycopg = _driver()
    addresses = await _addresses(place, reach)
    user, password = _user(await _header(authorization))
    refusal: Refusal = UpstreamUnreachable()
    with _trust(place, authority) as trust:
        for address in addresses:
            try:
                connection = await asyncio.wait_for(
                    psycopg.AsyncConnection.connect(
                        host=place.host,
                        hostaddr=address,
                        port=place.port,
                        dbname=place.name,
                        user=user,
                        password=password,
                        application_name="agent-access-manager",
                        connect_timeout=max(1, round(limits.connect_seconds)),
                        gssencmode="disable",
                        passfile="/dev/null",
                        target_session_attrs="any",
                        client_encoding="UTF8",
                        autocommit=True,
                        cursor_factory=psycopg.AsyncRawCursor,
                        **trust,
                    ),
                    limits.connect_seconds + 1,
                )
            except (psycopg.Error, OSError, TimeoutError, UnicodeError) as error:
                refusal = _not_connected(error)
                continue
            connection.prepare_threshold = None
            try:
                yield connection
            finally:
                await asyncio.shield(connection.close())
            return
    # Raised out here, so that it carries neither the driver's exception nor its frames: those hold the password
    raise refusal


async def read(
    connection: "Connection",
    limits: Limits,
    dispatch: Dispatch,
    statement: str,
    parameters: Sequence[Any],
    most: int,
) -> Rows:
    """Run a statement in a read-only transaction, row by row, until there are enough."""
    psycopg = _driver()
    rows: list[Sequence[Any]] = []
    size = 0
    try:
        async with asyncio.timeout(_patience(limits)):
            await connection.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute(_settings(limits))
            dispatch.sent = True
            async with (
                connection.cursor() as cursor,
                contextlib.aclosing(cursor.stream(statement.encode(), list(parameters))) as stream,  # type: ignore[type-var]
            ):
                async for row in stream:
                    size += sum(len(str(value)) for value in row)
                    if size > limits.response_bytes:
                        raise UpstreamTooLarge(detail=f"over {limits.response_bytes} bytes")
                    if len(rows) < most:  # read to the end all the same: the statement has its own LIMIT
                        rows.append(row)
            return Rows(rows)
    except TimeoutError:
        refusal: Refusal = UpstreamTimeout()
    except psycopg.Error as error:
        refusal = _refused(error, limits, writing=False)
    raise refusal


async def write(
    connection: "Connection",
    limits: Limits,
    dispatch: Dispatch,
    statement: str,
    parameters: Sequence[Any],
    changed: Changed,
) -> None:
    """Run a statement that changes rows, in one transaction, and have it undone unless `changed` lets it pass."""
    psycopg = _driver()
    try:
        async with asyncio.timeout(_patience(limits)):
            await connection.execute("BEGIN TRANSACTION READ WRITE")
            await connection.execute(_settings(limits))
            dispatch.sent = True
            cursor = await connection.execute(statement.encode(), list(parameters))
            rows = Rows(await cursor.fetchall())
            changed(rows, cursor.rowcount)  # what it raises closes the connection, and with it the transaction
            await connection.execute("COMMIT")
            return
    except TimeoutError:
        refusal: Refusal = UpstreamTimeout()
    except psycopg.Error as error:
        refusal = _refused(error, limits, writing=True)
    raise refusal


def _settings(limits: Limits) -> bytes:
    return _SETTINGS.format(milliseconds=round(limits.total_seconds * 1000)).encode()


def _patience(limits: Limits) -> float:
    """Return how long we wait ourselves: longer than the server, so that it is the server that ends it and says why."""
    return limits.total_seconds + limits.connect_seconds


def _driver() -> Any:
    try:
        import psycopg  # noqa: PLC0415 - an optional part of the installation, and no light one
    except ImportError:
        raise ExtraMissing(
            "PostgreSQL needs a driver that is not installed: pip install 'agent-access-manager[postgres]'"
        ) from None
    return psycopg


async def _addresses(place: DatabasePlace, reach: Reach) -> list[str]:
    """Resolve the host once; what is checked is what is connected to."""
    if not reach.names(place.host, place.port):
        raise EgressDenied(detail=f"{place.origin} is not among the connector's hosts")
    try:
        found = await CheckedResolver(reach).resolve(place.host, place.port)
    except OSError as error:
        raise UpstreamUnreachable(detail=f"{place.host} is not resolved: {type(error).__name__}") from None
    addresses = [result["host"] for result in found]
    if place.plain and not all(_named_private(address, reach) for address in addresses):
        raise EgressDenied(detail="sslmode=disable is for addresses of the connector's private ranges only")
    return addresses


def _named_private(address: str, reach: Reach) -> bool:
    plain = ipaddress.ip_address(address.partition("%")[0])
    return any(plain.version == network.version and plain in network for network in reach.private)


@contextlib.contextmanager
def _trust(place: DatabasePlace, authority: str | None) -> Any:
    """Yield how the server must prove itself: always by its name, to the authority that is configured."""
    if place.plain:
        yield {"sslmode": "disable"}
    elif authority is None:
        known = (ssl.get_default_verify_paths().cafile, *_SYSTEM_TRUST)
        system = next((path for path in known if path and Path(path).is_file()), "system")
        yield {"sslmode": "verify-full", "sslrootcert": system, "ssl_min_protocol_version": "TLSv1.2"}
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # libpq takes no certificate but from a file
            file.write(authority)
            file.flush()
            yield {"sslmode": "verify-full", "sslrootcert": file.name, "ssl_min_protocol_version": "TLSv1.2"}


async def _header(authorization: Authorization) -> str:
    header = await authorization.header()
    return "" if header is None else header.reveal()


def _user(header: str) -> tuple[str, str]:
    """Return user and password of a `basic` grant."""
    scheme, _, pair = header.partition(" ")
    try:
        user, _, password = base64.b64decode(pair, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        scheme, user, password = "", "", ""
    if scheme != "Basic" or not user or "\0" in user + password:
        raise GrantMisplaced("A database is opened with a user's name and password: connect a grant of kind 'basic'.")
    return user, password


def _not_connected(error: BaseException) -> Refusal:
    """Say why there is no connection; what libpq says of it, only to this function."""
    state, said = getattr(error, "sqlstate", None) or "", str(error).lower()
    if state[:2] == "28" or "password authentication failed" in said or "no password supplied" in said:
        return UpstreamUnauthorized(detail="the database refused the user or the password")
    if "certificate" in said or "ssl" in said:
        return UpstreamUnreachable(detail="TLS: the server offers none, or its certificate is not trusted for its name")
    if state[:2] == "53" or "too many" in said:
        return UpstreamBusy("The database takes no more connections; try again.", detail=state, retry_after=5)
    if state == "3D000" or ("database" in said and "does not exist" in said):
        return UpstreamFailed(detail="there is no such database")
    return UpstreamUnreachable(detail=f"{type(error).__name__} {state}".strip())


def _refused(error: Any, limits: Limits, *, writing: bool) -> Refusal:
    """Return one of our refusals: PostgreSQL's own words name tables and quote values."""
    state = error.sqlstate or ""
    detail = f"SQLSTATE {state}" if state else type(error).__name__
    if state == "57014":
        seconds = f"{limits.total_seconds:g}"
        return UpstreamRejected(
            f"The database gave the statement up after {seconds} seconds; make it narrower.", detail=detail
        )
    if state in _IN_OUR_WORDS:
        return UpstreamRejected(_IN_OUR_WORDS[state], detail=detail)
    if state in {"42501", "25006"}:
        return UpstreamForbidden(detail=detail)
    if state[:2] == "22":
        return UpstreamRejected(
            "A value does not fit: it is no number or date as it stands, out of range, or divided by zero.",
            detail=detail,
        )
    if state[:2] == "42":
        return UpstreamRejected(
            "The database does not take the statement: types that do not go together, a column that is not grouped by, "
            "a function that it does not have.",
            detail=detail,
        )
    if state[:2] == "23":
        return UpstreamRejected("The row would break a rule of its table.", detail=detail)
    if state[:2] in {"40", "53"} or state == "55P03":
        return UpstreamBusy("The database is busy with another change; try again.", detail=detail, retry_after=1)
    if not state:
        return (UpstreamInterrupted if writing else UpstreamMalformed)(detail=detail)
    if state[:2] in _NOT_WELL:
        cut = writing and state[:2] in {"08", "57"}  # maybe in its COMMIT
        return (UpstreamInterrupted if cut else UpstreamFailed)(detail=detail)
    return UpstreamRejected("The database does not do what the statement asks for.", detail=detail)


_NOT_WELL = {"08", "57", "58", "F0", "XX"}
"""Classes of SQLSTATEs that say so of the database; any other is about the statement, which an agent may have made."""
_PINNED = "The table is no longer as it was pinned; an administrator must fetch its description again."
_IN_OUR_WORDS = {
    "42P01": _PINNED,
    "42703": _PINNED,
    "23505": "There is a row with this value already, and the value may occur once only.",
    "23503": "The row refers to another that is not there, or another refers to it.",
    "23502": "The table demands a column that was not given.",
    "23514": "A check of the table refuses the row as it would be.",
}
