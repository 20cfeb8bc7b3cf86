"""uvicorn, made the daemon's: bounded towards strangers, told who is at the other end of a Unix socket."""

import ssl
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.identity import socket_peer

_LONGEST_HEAD = 64 << 10  # bytes of a request before its body
_SLOWEST_HEAD = 10.0  # seconds


class HttpServer(Server):
    """uvicorn, whose life is the daemon's to decide."""

    def __init__(self, app: ASGIApp, *, tls: ssl.SSLContext | None = None, by_peer: bool = False) -> None:
        super().__init__(
            Config(
                app,
                http=PeerProtocol if by_peer else BoundedProtocol,
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                reset_contextvars=True,  # what one request notes of itself stays its own
                timeout_graceful_shutdown=2,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            )
        )

    async def serve(self, sockets: Any = None) -> None:
        """Serve until `should_exit`; signals are the daemon's."""
        await self._serve(sockets)

    async def shutdown(self, sockets: Any = None) -> None:
        """End what is idle without its client's goodbye, which over TLS takes half a minute; then as uvicorn does."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedProtocol) and connection.is_idle():
                connection.transport.abort()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Every second, end connections whose next request has been on its way for too long."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedProtocol) and connection.is_too_slow():
                    connection.transport.abort()
        return await super().on_tick(counter)


class BoundedProtocol(HttpToolsProtocol):
    """Bounds a request's head in bytes and time: the parser would take one without end, from anybody."""

    _head_bytes = 0
    _head_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._head_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Count what comes; the parser's calls below begin the count anew."""
        if self._head_bytes == 0 and self._head_since is None:
            self._head_since = self.loop.time()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > _LONGEST_HEAD:
            self.send_400_response("The request's head is too large.")

    def on_headers_complete(self) -> None:
        """End the head."""
        self._head_bytes, self._head_since = 0, None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count no body: it is bounded where it is read. One that nobody reads has as much time as a head."""
        self._head_bytes = 0
        if not self.cycle.response_complete:
            self._head_since = None
        super().on_body(body)

    def is_idle(self) -> bool:
        """Tell whether nothing is being answered, and nothing of an answer is still to be sent."""
        cycle: Any = self.cycle  # None before the first request
        return (cycle is None or cycle.response_complete) and self.transport.get_write_buffer_size() == 0

    def is_too_slow(self) -> bool:
        """Tell whether a head has been on its way for too long."""
        return self._head_since is not None and self.loop.time() - self._head_since > _SLOWEST_HEAD


class PeerProtocol(BoundedProtocol):
    """HTTP on a Unix socket, noting the peer's user as the client's name: `uid:1000`."""

    def connection_made(self, transport: Any) -> None:
        """Ask the kernel who connects; whoever it does not name is nobody."""
        super().connection_made(transport)
        try:
            peer = socket_peer(transport.get_extra_info("socket"))
            self.client = (f"uid:{peer.uid}", peer.pid)
        except OSError:
            self.client = None
