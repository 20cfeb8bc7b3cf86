"""Streamable HTTP, as a client of both protocol eras, on the session that egress has authorised."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

from mcp.shared.inbound import encode_header_value

from broker.connector import Session, Streamed, errors
from connectors.mcp.events import Events
from connectors.mcp.messages import (
    CLIENT,
    HANDSHAKE,
    HANDSHAKES,
    MODERN,
    Deaf,
    Listener,
    Message,
    answer_to,
    encoded,
    parsed,
    result_of,
    take,
)
from connectors.mcp.sessions import Kept, SessionLost

_FIRST_ERROR = 400
_SESSION_LOST = 404
_FAREWELL_SECONDS = 2.0
_PREFIX = "io.modelcontextprotocol/"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class HttpServer:
    """One server for the length of one call. In the handshake era that is one session of the protocol's."""

    def __init__(
        self,
        session: Session,
        url: str,
        capabilities: Mapping[str, Any],
        *,
        modern: bool,
        kept: Kept | None = None,
        lasts: bool = False,
    ) -> None:
        """Begin with a session that was `kept`, if there is one; one that `lasts` is not ended."""
        self.modern = modern
        self.said: Message = {}
        """What the server has said of itself."""
        self._session = session
        self._url = url
        self._capabilities = dict(capabilities)
        self._version = MODERN if modern else kept.version if kept is not None else HANDSHAKE
        self._id = kept.id if kept is not None else None
        self._resumed = kept is not None
        self._lasts = lasts
        self._ids = itertools.count(1)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["HttpServer"]:
        """Open the protocol's session, where there is one, and end it on leaving."""
        if not self.modern and not self._resumed:
            await self._shake_hands()
        try:
            yield self
        finally:
            if self._id is not None and not self._lasts:
                await self._say_farewell()

    @property
    def kept(self) -> Kept | None:
        """What takes this session up again; None if the server gave it no id."""
        return None if self._id is None else Kept(self._id, self._version)

    async def discover(self) -> None:
        """Ask a server of the 2026-07-28 era what it is; raise whatever another answers."""
        self.said = await self.request("server/discover", {})

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        listener: Listener | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """Send a request and return its result; raise `RpcError`, or what egress raises."""
        number = next(self._ids)
        said = {**(meta or {}), "progressToken": number, **(self._envelope() if self.modern else {})}
        message: Message = {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": said}}
        own = {**self._headers(method, params), **(headers or {})}
        try:
            async with asyncio.timeout(self._session.limits.total_seconds):
                return result_of(await self._exchange(message, number, own, listener or Deaf()))
        except TimeoutError:
            await self._cancel(number)
            raise errors.UpstreamTimeout(detail="the server did not answer in time") from None
        except asyncio.CancelledError:
            await self._cancel(number)
            raise

    async def follow(self, uri: str, listener: Listener) -> None:
        """Subscribe to a resource, and tell what the server says of it until it ends the stream."""
        number = next(self._ids)
        if self.modern:
            params = {"notifications": {"resourceSubscriptions": [uri]}, "_meta": self._envelope()}
            method = "subscriptions/listen"
            message: Message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            await self._tail("POST", self._headers(method, params), encoded(message), number, listener)
        else:
            await self.request("resources/subscribe", {"uri": uri})
            listener.acknowledged()
            headers = {**self._headers("", {}), "Accept": "text/event-stream"}
            await self._tail("GET", headers, None, number, listener)

    async def _tail(
        self, verb: str, headers: Mapping[str, str], body: bytes | None, number: int, listener: Listener
    ) -> None:
        events = Events(self._session.limits.response_bytes)
        async with self._session.stream(verb, self._url, headers, body, lasting=True) as answer:
            await _check(answer)
            await self._listen(answer, events, number, listener)

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        await self._post({"jsonrpc": "2.0", "method": method, **({"params": dict(params)} if params else {})})

    def _envelope(self) -> Message:
        return {
            f"{_PREFIX}protocolVersion": MODERN,
            f"{_PREFIX}clientInfo": CLIENT,
            f"{_PREFIX}clientCapabilities": self._capabilities,
        }

    async def _shake_hands(self) -> None:
        number = next(self._ids)
        params = {"protocolVersion": HANDSHAKE, "capabilities": self._capabilities, "clientInfo": CLIENT}
        message: Message = {"jsonrpc": "2.0", "id": number, "method": "initialize", "params": params}
        self.said = result_of(await self._exchange(message, number, self._headers("initialize", params), Deaf()))
        version = self.said.get("protocolVersion")
        if version not in HANDSHAKES:
            raise errors.UpstreamMalformed(detail="the server speaks no version of MCP that is known here")
        self._version = version
        await self.notify("notifications/initialized")

    async def _exchange(self, message: Message, number: int, headers: Mapping[str, str], listener: Listener) -> Message:
        """Send a request and return the response to it, taken up again where the server ends a stream before it."""
        events = Events(self._session.limits.response_bytes)
        async with self._session.stream("POST", self._url, headers, encoded(message)) as answer:
            if answer.status == _SESSION_LOST and self._resumed:
                raise SessionLost
            await _check(answer)
            self._id = self._id or answer.headers.get("mcp-session-id")
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                return parsed((await answer.read()).body)
            response = await self._listen(answer, events, number, listener)
        while response is None and events.last_id and not self.modern:
            await asyncio.sleep(events.retry_seconds)
            again = {**self._headers("", {}), "Accept": "text/event-stream", "Last-Event-ID": events.last_id}
            async with self._session.stream("GET", self._url, again, None) as answer:
                await _check(answer)
                response = await self._listen(answer, events, number, listener)
        if response is None:
            raise errors.UpstreamInterrupted(detail="the stream ended without the answer")
        return response

    async def _listen(self, answer: Streamed, events: Events, number: int, listener: Listener) -> Message | None:
        async for chunk in answer.chunks():
            for event in events.feed(chunk):
                if event.kind != "message" or not event.data:
                    continue
                message = parsed(event.data)
                if "method" in message and "id" in message:
                    await self._post(await answer_to(message, listener))
                elif (response := await take(message, number, listener)) is not None:
                    return response
        return None

    async def _post(self, message: Message) -> None:
        """Send what gets no answer of its own."""
        response = await self._session.send("POST", self._url, self._headers("", {}), encoded(message))
        if response.status >= _FIRST_ERROR:
            raise _by_status(response.status)

    async def _cancel(self, number: int) -> None:
        """Tell a server of the handshake era that nobody waits any more; of the other, the closed stream says it."""
        if self.modern:
            return
        with contextlib.suppress(errors.Refusal, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await asyncio.shield(self.notify("notifications/cancelled", {"requestId": number}))

    async def _say_farewell(self) -> None:
        with contextlib.suppress(errors.Refusal, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await asyncio.shield(self._session.send("DELETE", self._url, self._headers("", {}), None))

    def _headers(self, method: str, params: Mapping[str, Any]) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if method != "initialize":
            headers["MCP-Protocol-Version"] = self._version
        if self._id is not None:
            headers["Mcp-Session-Id"] = self._id
        if self.modern and method:
            headers["Mcp-Method"] = method
            named = params.get(_NAMED.get(method, ""))
            if isinstance(named, str):
                headers["Mcp-Name"] = encode_header_value(named)
        return headers


async def _check(answer: Streamed) -> None:
    """Return if the answer is one; raise `RpcError` for a protocol error, or the refusal that its status stands for."""
    if answer.status < _FIRST_ERROR:
        return
    if answer.headers.get("content-type", "").startswith("application/json"):
        body = (await answer.read()).body
        with contextlib.suppress(errors.UpstreamMalformed):
            result_of(parsed(body))
    raise _by_status(answer.status)


def _by_status(status: int) -> errors.Refusal:
    detail = f"HTTP {status}"
    match status:
        case 401:
            return errors.UpstreamUnauthorized(detail=detail)
        case 403:
            return errors.UpstreamForbidden(detail=detail)
        case 429:
            return errors.UpstreamBusy(detail=detail)
        case _ if status >= 500:  # noqa: PLR2004 - HTTP's own
            return errors.UpstreamFailed(detail=detail)
    return errors.UpstreamRejected(detail=detail)
