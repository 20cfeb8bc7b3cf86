"""The HTTP+SSE transport of 2024-11-05, which later revisions have deprecated and servers still speak."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any
from urllib.parse import urljoin

from broker.connector import Session, errors
from connectors.mcp.events import Event, Events
from connectors.mcp.messages import (
    CLIENT,
    HANDSHAKE,
    HANDSHAKES,
    Deaf,
    Listener,
    Message,
    answer_to,
    encoded,
    parsed,
    result_of,
    take,
)

_FIRST_ERROR = 400
_HEADERS = {"Content-Type": "application/json"}


class SseServer:
    """One server for the length of one call: a stream that it speaks on, and an address to which it is spoken to."""

    modern = False

    def __init__(self, session: Session, url: str, capabilities: Mapping[str, Any]) -> None:
        self.said: Message = {}
        self._session = session
        self._url = url
        self._capabilities = dict(capabilities)
        self._endpoint = ""
        self._events: AsyncIterator[Event]
        self._ids = itertools.count(1)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["SseServer"]:
        """Open the stream and shake hands."""
        accept = {"Accept": "text/event-stream"}
        async with self._session.stream("GET", self._url, accept, None, lasting=True) as answer:
            if answer.status >= _FIRST_ERROR:
                raise errors.UpstreamRejected(detail=f"HTTP {answer.status}")
            events = Events(self._session.limits.response_bytes)

            async def each() -> AsyncGenerator[Event, None]:
                async for chunk in answer.chunks():
                    for event in events.feed(chunk):
                        yield event

            async with contextlib.aclosing(each()) as self._events:
                await self._begin()
                yield self

    async def _begin(self) -> None:
        try:
            async with asyncio.timeout(self._session.limits.total_seconds):
                first = await anext(self._events, None)
        except TimeoutError:
            raise errors.UpstreamTimeout(detail="the stream does not begin") from None
        if first is None or first.kind != "endpoint":
            raise errors.UpstreamMalformed(detail="the stream does not begin with an endpoint")
        # Of another origin, egress refuses it: the session is bound to this one
        self._endpoint = urljoin(self._url, first.data)
        await self._shake_hands()

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        listener: Listener | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - of the other transport
    ) -> Message:
        """Send a request and return its result; raise `RpcError`, or what egress raises."""
        number = next(self._ids)
        said = {**(meta or {}), "progressToken": number}
        await self._post({"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": said}})
        try:
            async with asyncio.timeout(self._session.limits.total_seconds):
                return result_of(await self._answer(number, listener or Deaf()))
        except TimeoutError:
            raise errors.UpstreamTimeout(detail="the server did not answer in time") from None

    async def follow(self, uri: str, listener: Listener) -> None:
        """Subscribe to a resource, and tell what the server says of it until it ends the stream."""
        await self.request("resources/subscribe", {"uri": uri})
        listener.acknowledged()
        with contextlib.suppress(errors.UpstreamInterrupted):
            await self._answer(0, listener)

    async def _answer(self, number: int, listener: Listener) -> Message:
        async for event in self._events:
            if event.kind != "message":
                continue
            message = parsed(event.data)
            if "method" in message and "id" in message:
                await self._post(await answer_to(message, listener))
            elif (response := await take(message, number, listener)) is not None:
                return response
        raise errors.UpstreamInterrupted(detail="the stream ended without the answer")

    async def _shake_hands(self) -> None:
        params = {"protocolVersion": HANDSHAKE, "capabilities": self._capabilities, "clientInfo": CLIENT}
        self.said = await self.request("initialize", params)
        if self.said.get("protocolVersion") not in HANDSHAKES:
            raise errors.UpstreamMalformed(detail="the server speaks no version of MCP that is known here")
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def _post(self, message: Message) -> None:
        response = await self._session.send("POST", self._endpoint, _HEADERS, encoded(message))
        if response.status >= _FIRST_ERROR:
            raise errors.UpstreamRejected(detail=f"HTTP {response.status}")
