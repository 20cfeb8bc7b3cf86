"""The one way to a server, whichever transport and era its document and its pin say that it speaks."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from broker.connector import ConnectorDocument, Session
from connectors.mcp.http import HttpServer
from connectors.mcp.messages import MODERN, Listener, Message
from connectors.mcp.sessions import SessionLost, Sessions
from connectors.mcp.settings import McpSettings
from connectors.mcp.sse import SseServer
from connectors.mcp.stdio import program

ASKS = ("elicitation", "sampling", "roots")
"""What a server may ask the client, by the names of the capabilities."""


class Upstream(Protocol):
    """A server that is connected. `said` is what it has said of itself; `modern` that it speaks 2026-07-28."""

    modern: bool
    said: Message

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
        ...

    async def follow(self, uri: str, listener: Listener) -> None:
        """Subscribe to a resource, and tell what the server says of it until that ends."""
        ...


@contextlib.asynccontextmanager
async def connected(
    session: Session,
    document: ConnectorDocument,
    settings: McpSettings,
    *,
    modern: bool = False,
    capabilities: Mapping[str, Any] | None = None,
    sessions: Sessions | None = None,
    caller: str = "",
    asks: bool = True,
) -> AsyncIterator[Upstream]:
    """Connect for the length of one call, saying that the client can do no more than these capabilities.

    With `sessions`, one of the handshake era over HTTP goes on for its caller; raises `SessionLost` where it does not.

    A program is connected already, once for all calls, and has been told what its document lets it ask. One that may
    ask has one call at a time, of those that say that it `asks`.
    """
    if document.process is not None:
        lets = [one for one in ASKS if one in settings.lets]
        async with program(session, {one: {} for one in lets}, asks=asks and bool(lets)) as peer:
            yield peer
    elif settings.transport == "sse":
        async with SseServer(session, document.url or "", capabilities or {}).connected() as sse:
            yield sse
    else:
        key = (caller, json.dumps(capabilities or {}, sort_keys=True))
        kept = None if sessions is None or modern else sessions.find(key)
        lasts = sessions is not None
        server = HttpServer(session, document.url or "", capabilities or {}, modern=modern, kept=kept, lasts=lasts)
        try:
            async with server.connected() as http:
                yield http
        except SessionLost:
            lasts = False
            if sessions is not None:
                sessions.forget(key)
            raise
        finally:
            if lasts and sessions is not None and server.kept is not None:
                sessions.keep(key, server.kept)


def speaks_modern(pin: Mapping[str, Any]) -> bool:
    """Tell whether the pinned server speaks 2026-07-28."""
    return MODERN in pin.get("versions", ())


def speaks_handshake(pin: Mapping[str, Any]) -> bool:
    """Tell whether the pinned server speaks one of the revisions before."""
    return any(version != MODERN for version in pin.get("versions", ()))
