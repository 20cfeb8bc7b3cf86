"""uvicorn, made the daemon's: bounded towards strangers, told who is at the other end of a Unix socket."""

import ssl
import time
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.identity import socket_peer

_LONGEST_HEAD = 64 << 10  # bytes of a request before its body
_SLOWEST_HEAD = 10.0  # seconds
_SLOWEST_READER = 10.0  # seconds in which a client takes nothing of what waits for it
_MOST_AHEAD = 8  # requests sent ahead of the answer to the first
_MOST_CONNECTIONS = 2048  # of one listener


class HttpServer(Server):
    """uvicorn, whose life is the daemon's to decide."""

    def __init__(
        self, app: ASGIApp, *, tls: ssl.SSLContext | None = None, protocol: "type[BoundedProtocol] | None" = None
    ) -> None:
        super().__init__(
            Config(
                app,
                http=protocol or BoundedProtocol,
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
        """Every second, end connections whose request comes, or whose answer goes, too slowly."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedProtocol) and (connection.is_too_slow() or connection.is_unread()):
                    connection.transport.abort()
        return await super().on_tick(counter)


class BoundedProtocol(HttpToolsProtocol):
    """Bounds what anybody may have the daemon hold: connections, requests ahead, their heads, and answers unread."""

    _head_bytes = 0
    _head_since: float | None = None
    _heard_at = 0.0  # by a finer clock than the loop's, which stands still while many come at once
    _unread_bytes = 0
    _unread_since = 0.0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._head_since, self._heard_at = self.loop.time(), time.monotonic()
        if len(self.connections) > _MOST_CONNECTIONS:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Count what comes; the parser's calls below begin the count anew."""
        self._heard_at = time.monotonic()
        if self._head_bytes == 0 and self._head_since is None:
            self._head_since = self.loop.time()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > _LONGEST_HEAD:
            self.send_400_response("The request's head is too large.")

    def resume_writing(self) -> None:
        """Note that the client has taken something."""
        super().resume_writing()
        self._unread_bytes = 0

    def on_headers_complete(self) -> None:
        """End the head; what is raised here ends the connection, with a 400."""
        self._head_bytes, self._head_since = 0, None
        if len(self.pipeline) >= _MOST_AHEAD:
            raise ValueError("too many requests ahead of their answers")
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

    def is_unread(self) -> bool:
        """Tell, asked every second, whether for too long nothing has been taken of what is to be sent.

        Any progress counts, so a stream whose client reads, however slowly, lives on.
        """
        before, self._unread_bytes = self._unread_bytes, self.transport.get_write_buffer_size()
        if before == 0 or self._unread_bytes < before:
            self._unread_since = self.loop.time()
        return self._unread_bytes > 0 and self.loop.time() - self._unread_since > _SLOWEST_READER

    def _make_room(self) -> None:
        """Close what has been idle for longest, which is this connection itself if all the others are busy."""
        idle = [one for one in self.connections if isinstance(one, BoundedProtocol) and one.is_idle()]
        oldest = min((one for one in idle if not one.transport.is_closing()), key=lambda one: one._heard_at)  # noqa: SLF001
        oldest.transport.abort()


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
