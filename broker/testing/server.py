"""An ASGI application served on loopback, over HTTPS or without TLS, from a thread of this process."""

import asyncio
import contextlib
import socket
import threading
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from broker.testing.certificates import ServerCertificate

PATIENCE_SECONDS = 60.0


class LoopbackServer:
    """Serves `app` for the length of a `with` block; the port is known before it starts.

    Leaving the block cuts whatever is still open, so a client that keeps connections alive cannot hold it up.
    Each request finds its connection in `scope["state"]["transport"]`, for a fault that must drop it.
    """

    def __init__(self, app: ASGIApp, certificate: ServerCertificate | None, listener: socket.socket) -> None:
        self._app = app
        self._listener = listener
        self._server = _Server(
            Config(
                self._answer,
                interface="asgi3",
                http=_Connection,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                ssl_certfile=certificate.certificate_file if certificate else None,
                ssl_keyfile=certificate.key_file if certificate else None,
            ),
        )
        self._thread = threading.Thread(target=self._serve, name="testing-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._server.settled.wait(PATIENCE_SECONDS) or not self._server.started:
            raise RuntimeError("The test server did not start.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError("The test server did not stop.")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # cut off at the end: uvicorn would log a traceback
            await self._app(scope, receive, send)

    def _serve(self) -> None:
        with contextlib.closing(self._listener):
            try:
                asyncio.run(self._server.serve(sockets=[self._listener]))
            finally:
                self._server.settled.set()


def bind(port: int) -> socket.socket:
    """Bind a socket to 127.0.0.1; port 0 takes any free one."""
    # asyncio turns Nagle's delay off (40 ms an answer) only where the protocol is spelled out.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


class _Server(Server):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.settled.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # An idle TLS client never answers the closing handshake; waiting for it would take half a minute.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        await super().shutdown(sockets=sockets)


class _Connection(H11Protocol):
    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.access_log = False  # a test's log belongs to the code under test

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
