"""The daemon's doors: bound with the right protection or not at all, served, and closed in order."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.abc
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings

from broker.app.listeners import HttpServer, http_socket, unix_socket
from broker.app.parts import Parts
from broker.app.status import status
from broker.documents import Snapshot
from broker.doors.admin import Operators, operators_app
from broker.doors.mcp import AgentsSocket, SseDoor, agents_app
from broker.errors import ListenerRefused

_CLOSING_SECONDS = 2.0


class Doors:
    """Everything that listens. Bound when made; raises `ListenerRefused`, and then nothing is bound."""

    def __init__(self, parts: Parts) -> None:
        documents = parts.documents.current
        document, listen = documents.broker, documents.broker.listen
        certificate, key = _tls_files(parts, documents)
        self.agents_path, self.operators_path = (
            documents.base / listen.agents_socket,
            documents.base / listen.operators_socket,
        )
        with contextlib.ExitStack() as bound:
            http = bound.enter_context(http_socket(document, tls=certificate is not None))
            local = bound.enter_context(unix_socket(self.agents_path, 0o666))
            mode = 0o660 if listen.operators_group else 0o600
            operators = bound.enter_context(unix_socket(self.operators_path, mode, listen.operators_group))
            bound.pop_all()

        host, port = http.getsockname()[:2]
        self.url = f"{'https' if certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        self._local = local
        self._agents = AgentsSocket(parts.server, parts.entrance, document.caps.request_bytes)
        self._sse = SseDoor(parts.server, document.caps.request_bytes)
        # Host and Origin are checked once, for every path and before routing, so not again by the SDK
        self._streamable = StreamableHTTPSessionManager(
            parts.server.sdk, max_request_body_size=document.caps.request_bytes
        )
        app = agents_app(
            self._streamable, self._sse, parts.entrance, _security(documents, port), document.audience, parts.trouble
        )
        admin = Operators(parts.documents, parts.recorder, parts.vault, parts.egress, lambda: status(parts))
        self._servers = (
            (HttpServer(app, certificate=certificate, key=key), http),
            (HttpServer(operators_app(admin), by_peer=True), operators),
        )

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve while inside; on the way out, end what is still open and take the sockets away."""
        async with anyio.create_task_group() as tasks:
            async with self._streamable.run(), self._serving_local():
                for server, listener in self._servers:
                    tasks.start_soon(server.serve, [listener])
                yield
                self._sse.cut()
                self._agents.cut()
            for server, _ in self._servers:
                server.should_exit = True
            await until(
                lambda: not any(server.server_state.connections for server, _ in self._servers), _CLOSING_SECONDS
            )
            tasks.cancel_scope.cancel()
        for path in (self.agents_path, self.operators_path):
            path.unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def _serving_local(self) -> AsyncIterator[None]:
        async with (
            await anyio.abc.SocketListener.from_socket(self._local) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, self._agents.serve)
            yield
            tasks.cancel_scope.cancel()


async def until(reached: Callable[[], bool], seconds: float) -> None:
    """Wait until something is so, but not for longer than that."""
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:  # noqa: ASYNC110 - uvicorn's connections tell nobody
        await asyncio.sleep(0.02)


def _tls_files(parts: Parts, documents: Snapshot) -> tuple[str | None, str | None]:
    tls = documents.broker.listen.tls
    certificate: Path | None = parts.options.tls_certificate or (documents.base / tls.certificate if tls else None)
    key: Path | None = parts.options.tls_key or (documents.base / tls.key if tls else None)
    if (certificate is None) != (key is None):
        raise ListenerRefused("TLS needs both a certificate and a key: --tls-cert and --tls-key.")
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise ListenerRefused(f"The TLS file {path} cannot be read.")
    return (str(certificate), str(key)) if certificate and key else (None, None)


def _security(documents: Snapshot, port: int) -> TransportSecuritySettings:
    """Accept the Host headers under which this listener is meant to be reached, and no web page's Origin."""
    listen = documents.broker.listen
    hosts = {urlsplit(documents.broker.audience).netloc, *listen.hosts}
    origins = set(listen.origins)
    if listen.http.startswith(("127.", "[::1]")):
        local = {f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")}
        hosts |= local
        origins |= {f"http://{host}" for host in local}
    return TransportSecuritySettings(
        allowed_hosts=sorted(host for host in hosts if host), allowed_origins=sorted(origins)
    )
