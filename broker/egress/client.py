"""One HTTP client for each connector, made once: it pins, caps and cuts, and says whether a request had been sent."""

import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from broker.egress.reach import CheckedResolver, Reach
from broker.errors import (
    EgressDenied,
    UpstreamInterrupted,
    UpstreamMalformed,
    UpstreamRedirected,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)

# What a response says of itself that a connector may need; cookies, challenges and locations stay here.
_HEADERS_KEPT = frozenset({"content-type", "retry-after", "etag", "last-modified", "link", "sforce-limit-info"})


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
    """What came back, and nothing of what was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Parse the body; raise `UpstreamMalformed` if it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UpstreamMalformed(detail=f"HTTP {self.status} with a body that is no JSON") from None


class Dispatch:
    """Whether anything has been sent to the service in the course of one attempt."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = False


_DISPATCH: ContextVar[Dispatch] = ContextVar("dispatch")


class _Connector(aiohttp.TCPConnector):
    """Notes the last moment at which it is certain that nothing has been sent: before it, there was no connection."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        _DISPATCH.get().sent = True
        return connection


class Client:
    """Sends requests for one connector, within its reach and limits."""

    def __init__(self, reach: Reach, limits: Limits, tls: ssl.SSLContext) -> None:
        self.reach = reach
        self.limits = limits
        self._http = aiohttp.ClientSession(
            connector=_Connector(ssl=tls, resolver=CheckedResolver(reach), limit=limits.connections),
            timeout=aiohttp.ClientTimeout(total=limits.total_seconds, connect=limits.connect_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, dispatch: Dispatch
    ) -> Response:
        """Send one request; redirects are an error, and so is an answer over the cap.

        Raises `EgressDenied` before anything is sent, `UpstreamUnreachable` when nothing was, and `UpstreamTimeout` or
        `UpstreamInterrupted` when the service may have acted. Cancelling closes the connection.
        """
        self.reach.check_url(url)
        if body is not None and len(body) > self.limits.request_bytes:
            raise EgressDenied(detail=f"the request's body is over {self.limits.request_bytes} bytes")
        _DISPATCH.set(dispatch)
        try:
            async with self._http.request(
                method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
            ) as response:
                if response.status in {301, 302, 303, 307, 308}:
                    raise UpstreamRedirected(detail=f"HTTP {response.status}")
                kept = {name.lower(): value for name, value in response.headers.items()}
                return Response(
                    response.status,
                    {name: kept[name] for name in _HEADERS_KEPT & kept.keys()},
                    await self._read(response),
                )
        # Their exceptions hold the request with its headers, so none of them is chained.
        except TimeoutError:
            raise (UpstreamTimeout if dispatch.sent else UpstreamUnreachable)(detail="timed out") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = UpstreamInterrupted if dispatch.sent else UpstreamUnreachable
            raise failure(detail=f"{type(error).__name__}{_tls_reason(error)}") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk  # counted after decompression, so that a small bomb is no way around
            if len(body) > self.limits.response_bytes:
                response.close()
                raise UpstreamTooLarge(detail=f"over {self.limits.response_bytes} bytes")
        return bytes(body)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()


class Egress:
    """The clients of a running broker, one for each distinct reach, limits and certificate authority."""

    def __init__(self) -> None:
        self._clients: dict[tuple[Reach, Limits, str | None], Client] = {}

    def client(self, reach: Reach, limits: Limits, authority: str | None = None) -> Client:
        """Return the client for these settings, made once. `authority` is PEM text that replaces the system's trust."""
        key = (reach, limits, authority)
        if key not in self._clients:
            self._clients[key] = Client(reach, limits, ssl.create_default_context(cadata=authority))
        return self._clients[key]

    async def close(self) -> None:
        """Close every client."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()


def _tls_reason(error: Exception) -> str:
    """OpenSSL's own reason for a certificate it does not accept: names no host, and is what an operator needs."""
    cause = getattr(error, "certificate_error", None)
    return f": {cause.verify_message}" if isinstance(cause, ssl.SSLCertVerificationError) else ""
