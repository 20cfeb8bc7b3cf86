"""SSE: a stream for what the server says, POSTs for what the client says; each POST proves itself anew.

The transport is deprecated in MCP 2026-07-28 and still spoken by many clients.
"""

from mcp.server.sse import SseServerTransport
from starlette.types import Receive, Scope, Send

from broker.doors.entrance import Caller
from broker.doors.mcp.server import McpServer
from broker.doors.mcp.streams import OpenStreams


class SseDoor:
    """The two endpoints of the transport. The SDK binds a stream to the principal that opened it."""

    def __init__(self, server: McpServer, request_bytes: int, streams: OpenStreams) -> None:
        self._server = server.sdk
        self._streams = streams
        self._transport = SseServerTransport("/messages/", max_request_body_size=request_bytes)

    async def open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream until the client leaves or it is cut."""
        caller: Caller = scope["aam.caller"]
        self._streams.check(caller.identity.spiffe_id)
        async with self._transport.connect_sse(scope, receive, send) as (reading, writing):
            with self._streams.opened(caller.identity.spiffe_id):  # cut here, the response ends as it should
                await self._server.run(reading, writing, self._server.create_initialization_options())

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one message for an open stream."""
        await self._transport.handle_post_message(scope, receive, send)
