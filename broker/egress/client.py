"""One HTTP client for each connector, made once: it pins, caps and cuts, and says whether a request had been sent."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
import msgspec
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from broker.egress.processes import Processes
from broker.egress.reach import CheckedResolver, Reach
from broker.egress.secret import HeaderSecret, Secret
from broker.errors import (
    EgressDenied,
    Refusal,
    UpstreamInterrupted,
    UpstreamMalformed,
    UpstreamRedirected,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)

# What a response says of itself that a connector may need; cookies, challenges and locations stay here.
_HEADERS_KEPT = frozenset(
    {"content-type", "retry-after", "etag", "last-modified", "link", "next-page", "sforce-limit-info"}
    | {"sforce-locator", "sforce-numberofrecords", "mcp-session-id", "x-generation-id"}
    | {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-resource"}
    | {"x-accepted-github-permissions", "x-accepted-oauth-scopes"}
)
_CHALLENGE = re.compile(r'\berror="?(invalid_request|invalid_token|insufficient_scope)\b')  # RFC 6750 §3.1
_CLOSING_SECONDS = 0.01
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.1


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps of one connector: seconds for a whole request, bytes each way, requests at once."""

    connect_seconds: float = 5.0
    total_seconds: float = 30.0
    request_bytes: int = 1 << 20
    response_bytes: int = 4 << 20
    connections: int = 100


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, and nothing of what was sent.

    `challenge` is the error code of a bearer token that was refused (RFC 6750 §3.1), "" where there is none.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    challenge: str = ""

    def json(self) -> Any:
        """Parse the body; raise `UpstreamMalformed` if it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UpstreamMalformed(detail=f"HTTP {self.status} with a body that is no JSON") from None


class Streamed:
    """An answer whose body is taken as it comes. What it holds has been counted against the cap."""

    def __init__(self, response: aiohttp.ClientResponse, most: int, dispatch: "Dispatch") -> None:
        kept = {name.lower(): value for name, value in response.headers.items()}
        self.status = response.status
        self.headers: Mapping[str, str] = {name: kept[name] for name in _HEADERS_KEPT & kept.keys()}
        self.challenge = _challenge(kept.get("www-authenticate", ""))
        self._response: aiohttp.ClientResponse | None = response
        self._most = most
        self._dispatch = dispatch
        self._taken = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body, piece by piece; raise as `Client.send` does."""
        while chunk := await self.next():
            yield chunk

    async def read(self) -> Response:
        """Return the whole answer."""
        body = bytearray()
        while chunk := await self.next():
            body += chunk
        return Response(self.status, self.headers, bytes(body), self.challenge)

    def close(self) -> None:
        """Be done with it: a connection whose answer was not read to its end is closed."""
        if self._response is not None:
            self._response.close()
        self._response = None  # it knows the request, and so the token

    async def next(self) -> bytes:
        """Return what has come, as soon as something has; nothing, once the answer has ended as it should."""
        if self._response is None:
            return b""
        failure: Refusal
        try:
            chunk = await self._response.content.readany()
            self._taken += len(chunk)  # after decompression, so that a small bomb is no way around
            if self._taken <= self._most:
                return chunk
            chunk, failure = b"", UpstreamTooLarge(detail=f"over {self._most} bytes")
        except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a refusal or is raised again
            failure = failure_of(error, self._dispatch)
        self.close()
        raise failure


class Dispatch:
    """Whether anything has been sent to the service in the course of one attempt."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = False


_DISPATCH: ContextVar[Dispatch] = ContextVar("dispatch")


Patience = Literal["whole", "silence", "lasting"]
"""What of an exchange is timed: all of it, how long nothing comes, or only its opening."""
CheckPeer = Callable[[bytes], None]
"""Raises `EgressDenied` for a certificate (DER, its path validated) that is not that of whom it means to call."""


class _Connector(aiohttp.TCPConnector):
    """Notes the last moment at which it is certain that nothing has been sent: before it, there was no connection."""

    check_peer: CheckPeer | None = None

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if self.check_peer is not None:
            _check(connection, self.check_peer)
        _DISPATCH.get().sent = True
        return connection


class Client:
    """Sends requests for one connector, within its reach and limits."""

    def __init__(self, reach: Reach, limits: Limits, tls: ssl.SSLContext, check_peer: CheckPeer | None = None) -> None:
        self.reach = reach
        self.limits = limits
        self.tls = tls
        connector = _Connector(ssl=tls, resolver=CheckedResolver(reach), limit=limits.connections)
        connector.check_peer = check_peer
        total, connect = limits.total_seconds, limits.connect_seconds
        self._timed: Mapping[Patience, aiohttp.ClientTimeout] = {
            "whole": aiohttp.ClientTimeout(total=total, connect=connect),
            "silence": aiohttp.ClientTimeout(total=None, connect=connect, sock_read=total),
            "lasting": aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect),
        }
        self._http = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timed["whole"],
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        dispatch: Dispatch,
        authorization: Secret | None = None,
    ) -> Response:
        """Send one request; redirects are an error, and so is an answer over the cap.

        Raises `EgressDenied` before anything is sent, `UpstreamUnreachable` when nothing was, and `UpstreamTimeout` or
        `UpstreamInterrupted` when the service may have acted. Cancelling closes the connection.
        """
        streamed = await self.open(method, url, headers, body, dispatch, authorization)
        failure: Refusal
        try:
            return await streamed.read()
        except Refusal as refused:
            failure = refused.anew()
        finally:
            streamed.close()
        raise failure  # out here, without the frames that hold what came: it may echo the token

    async def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        dispatch: Dispatch,
        authorization: Secret | None = None,
        patience: Patience = "whole",
    ) -> "Streamed":
        """Send one request and return once its head is answered; whoever asked reads the rest, and closes it.

        `patience` says what `total_seconds` is for. Raises as `send` does.
        """
        target = self._checked(method, url, headers, body)
        _DISPATCH.set(dispatch)
        failure: Refusal
        exchange = self._exchange(method, target, headers, body, dispatch, authorization, patience)
        try:
            if patience != "lasting":
                return await exchange
            async with asyncio.timeout(self.limits.total_seconds):
                return await exchange
        except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a refusal or is raised again
            failure = failure_of(error, dispatch)
        # Raised out here, so that it carries neither their exceptions nor their frames: those hold the token
        raise failure

    def _checked(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> URL:
        target = self.reach.check_url(url)
        _check_headers(method, headers)
        if body is not None and len(body) > self.limits.request_bytes:
            raise EgressDenied(f"The request is larger than the {self.limits.request_bytes} bytes that may be sent.")
        return target

    async def _exchange(
        self,
        method: str,
        target: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        dispatch: Dispatch,
        authorization: Secret | None,
        patience: Patience,
    ) -> "Streamed":
        response = await self._http.request(
            method,
            target,
            headers=_with(headers, authorization),
            data=body,
            allow_redirects=False,
            timeout=self._timed[patience],
        )
        if response.status in _REDIRECTS:
            response.close()
            raise UpstreamRedirected(detail=f"HTTP {response.status}")
        return Streamed(response, self.limits.response_bytes, dispatch)

    @contextlib.asynccontextmanager
    async def pinned(self, authorities: str, check_peer: CheckPeer) -> AsyncIterator["Client"]:
        """Yield a client of the same reach that trusts these authorities (PEM) alone, and no host names.

        Who it is must `check_peer` know, by its certificate, before anything is sent to it.
        """
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False
        if authorities:
            tls.load_verify_locations(cadata=authorities)  # without one, nobody is believed
        client = Client(self.reach, self.limits, tls, check_peer)
        try:
            yield client
        finally:
            await client.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()


class Egress:
    """The clients of a running broker, one for each distinct reach, limits and certificate authority.

    `processes` are the programs that are services themselves.
    """

    def __init__(self) -> None:
        self.processes = Processes()
        self._clients: dict[tuple[Reach, Limits, str | None], Client] = {}

    def client(self, reach: Reach, limits: Limits, authority: str | None = None) -> Client:
        """Return the client for these settings, made once. `authority` is PEM text that replaces the system's trust."""
        key = (reach, limits, authority)
        if key not in self._clients:
            self._clients[key] = Client(reach, limits, _tls(authority))
        return self._clients[key]

    async def close(self) -> None:
        """Close every client, and end every program."""
        await self.processes.close()
        for client in self._clients.values():
            await client.close()
        self._clients.clear()
        await asyncio.sleep(_CLOSING_SECONDS)  # a connection that was cut closes in the loop's next rounds


def failure_of(error: Exception, dispatch: Dispatch) -> Refusal:
    """Return the refusal that stands for a failed exchange, without its history; raise what nobody expected."""
    match error:
        case Refusal():
            return error.anew()
        case TimeoutError():
            return (UpstreamTimeout if dispatch.sent else UpstreamUnreachable)(detail="timed out")
        case aiohttp.ClientError() | OSError() | ValueError():
            kind = UpstreamInterrupted if dispatch.sent else UpstreamUnreachable
            return kind(detail=f"{type(error).__name__}{_tls_reason(error)}")
    raise error


def _with(headers: Mapping[str, str], authorization: Secret | None) -> Mapping[str, str]:
    """Add the credential: under its own name, in whose place nobody else's header stands."""
    if authorization is None:
        return headers
    name = authorization.name if isinstance(authorization, HeaderSecret) else "Authorization"
    others = {other: value for other, value in headers.items() if other.lower() != name.lower()}
    return {**others, name: authorization.reveal()}


def _challenge(header: str) -> str:
    found = _CHALLENGE.search(header)
    return found[1] if found else ""


def _check_headers(method: str, headers: Mapping[str, str]) -> None:
    """Refuse what could not be written as it stands, before a connection is opened for it."""
    values = "".join(headers.values())
    if not method.isalpha() or not method.isascii() or not values.isprintable():
        raise EgressDenied(detail="a method or header value with characters that do not belong in one")
    if not all(_FIELD_NAME.fullmatch(name) for name in headers):
        raise EgressDenied(detail="a header name with characters that do not belong in one")


def _check(connection: Connection, check_peer: CheckPeer) -> None:
    """Close a connection to somebody else than was meant; raises what `check_peer` raises."""
    tls = None if connection.transport is None else connection.transport.get_extra_info("ssl_object")
    try:
        check_peer(tls.getpeercert(binary_form=True) if tls is not None else b"")
    except BaseException:
        connection.close()
        raise


def _tls(authority: str | None) -> ssl.SSLContext:
    """Trust the authority, or the system's; not `create_default_context`, which would obey SSLKEYLOGFILE."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authority)
    return context


def _tls_reason(error: Exception) -> str:
    """OpenSSL's own reason for a certificate that it does not accept: what an operator needs to know."""
    cause = getattr(error, "certificate_error", None)
    return f": {cause.verify_message}" if isinstance(cause, ssl.SSLCertVerificationError) else ""
