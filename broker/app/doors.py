"""The daemon's doors: bound with the right protection or not at all, served, and closed in order."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import anyio
import anyio.abc
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp

from broker.app.http import HttpServer, PeerProtocol
from broker.app.listeners import http_socket, tls_context, unix_socket
from broker.app.metrics import MetricsListener, bind_metrics
from broker.app.mutual import MutualProtocol, ask_for_certificates
from broker.app.parts import Parts
from broker.app.proxy import bind_proxy
from broker.app.status import status
from broker.control import Barred
from broker.documents import Snapshot
from broker.doors.admin import Operators, operators_app
from broker.doors.consent import consent_routes
from broker.doors.mcp import (
    AgentsSocket,
    OpenStreams,
    ProtectedResource,
    Sessions,
    SseDoor,
    agents_app,
    everyone,
)
from broker.doors.metrics import metrics_app
from broker.doors.models import Generations, Listing, ModelsDoor
from broker.doors.token import TokenEndpoint
from broker.errors import ListenerRefused

_CLOSING_SECONDS = 2.0
_FAREWELL_SECONDS = 0.5
_MOST_SESSIONS = 2000  # of the handshake revisions, each with a task of its own
_IDLE_SESSION_SECONDS = 600.0
_MOST_REQUESTS_OF_AN_AGENT = 512  # open at once, streams included; the calls among them have a cap of their own


class Doors:
    """Everything that listens. Bound when made; raises `ListenerRefused`, and then nothing is bound."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        documents = parts.documents.current
        document, listen = documents.broker, documents.broker.listen
        self.agents_path = documents.base / listen.agents_socket
        self.operators_path = documents.base / listen.operators_socket
        tls = _tls(parts, documents)
        if tls is not None and listen.client_certificates:
            ask_for_certificates(tls, parts.trust)
        with contextlib.ExitStack() as bound:
            http = bound.enter_context(http_socket(document, tls=tls is not None))
            self._local = bound.enter_context(unix_socket(self.agents_path, 0o666))
            bound.callback(self.agents_path.unlink, missing_ok=True)
            proxy = bind_proxy(bound, listen.proxy, documents.base) if listen.proxy else None
            metrics = bind_metrics(bound, listen.metrics, documents.base) if listen.metrics else None
            mode = 0o660 if listen.operators_group else 0o600
            operators = bound.enter_context(unix_socket(self.operators_path, mode, listen.operators_group))
            bound.callback(self.operators_path.unlink, missing_ok=True)
            self._bound = bound.pop_all()

        host, port = http.getsockname()[:2]
        self.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        self._agents = AgentsSocket(parts.server, parts.entrance, document.caps.request_bytes)
        # Host and Origin are checked once, for every path and before routing, so not again by the SDK
        self._sessions = Sessions(
            parts.server.sdk,
            max_request_body_size=document.caps.request_bytes,
            max_sessions=_MOST_SESSIONS,
            session_idle_timeout=_IDLE_SESSION_SECONDS,
        )
        self._requests = OpenStreams(_MOST_REQUESTS_OF_AN_AGENT)
        models = self._models(parts)
        app = agents_app(
            self._sessions,
            SseDoor(parts.server, document.caps.request_bytes, self._requests),
            parts.entrance,
            _security(documents, self.url),
            ProtectedResource(
                document.audience, lambda: parts.documents.current.issuers, parts.federation.authorization_server
            ),
            TokenEndpoint(
                parts.federation.authorization_server,
                parts.entrance,
                parts.clients,
                parts.delegations,
                document.audience,
            ),
            parts.trouble,
            self._requests,
            [*consent_routes(parts.consents), *models.routes()],
            models.posted(),
        )
        admin = Operators(
            parts.documents,
            parts.recorder,
            parts.vault,
            parts.egress,
            parts.heads,
            parts.signing,
            parts.refused,
            lambda: status(parts),
            parts.indexer,
            parts.history,
            parts.pipeline.usages,
            parts.switch,
            self._cut_barred,
            parts.approvals,
            parts.access_keys,
            parts.consents,
            parts.pipeline.resilience,
            parts.budgets,
            parts.models,
            parts.metrics,
        )
        mutual = MutualProtocol if listen.client_certificates else None
        self._servers = [
            (HttpServer(app, tls=tls, protocol=mutual), http),
            (HttpServer(operators_app(admin), protocol=PeerProtocol), operators),
        ]
        if proxy is not None:
            self._servers.append((proxy.server(app), proxy.socket))
        self.proxy = proxy.where if proxy else None
        """Where the proxy that ends mutual TLS connects, if there is one."""
        if metrics is not None:
            self._servers.append((metrics.server(_metrics_app(parts, metrics)), metrics.socket))
        self.metrics = metrics.url if metrics else None
        """Where a monitoring system scrapes, if that is served."""

    def _models(self, parts: Parts) -> ModelsDoor:
        listing = Listing(parts.documents, parts.models.means.prices.told)
        return ModelsDoor(
            parts.documents,
            parts.entrance,
            parts.models,
            listing,
            self._requests,
            parts.budgets,
            Generations(parts.store),
        )

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve while inside; on the way out, end what is still open."""
        async with anyio.create_task_group() as tasks:
            async with self._sessions.run(), self._serving_local():
                for server, listener in self._servers:
                    tasks.start_soon(server.serve, [listener])
                yield
                await self.cut(everyone)
            for server, _ in self._servers:
                server.should_exit = True  # answers that are on their way have two seconds to leave
        await self._cut_requests()

    async def cut(self, barred: Barred) -> None:
        """End the requests, streams, sessions and connections of agents that may no longer call."""
        self._requests.cut(barred)
        self._agents.cut(barred)
        await self._sessions.cut(barred)

    async def cut_barred(self) -> None:
        """End what is open for agents that may no longer call, and what people have approved for them."""
        await self._cut_barred(self._parts.switch.bars)

    async def _cut_barred(self, barred: Barred) -> None:
        await self.cut(barred)
        await self._parts.approvals.look(self._parts.documents.current, barred)

    def close(self) -> None:
        """Listen no more, and take the sockets away."""
        self._bound.close()

    async def _cut_requests(self) -> None:
        """Cut what still runs, and wait until it is on record as cut off."""
        states = [server.server_state for server, _ in self._servers]
        running = [task for state in states for task in state.tasks]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_CLOSING_SECONDS)
        for end in ("close", "abort"):  # what is on its way, first
            for connection in [connection for state in states for connection in state.connections]:
                getattr(connection.transport, end)()
            await until(lambda: not any(state.connections for state in states), _FAREWELL_SECONDS)

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


def _tls(parts: Parts, documents: Snapshot) -> ssl.SSLContext | None:
    configured = documents.broker.listen.tls
    certificate = parts.options.tls_certificate or (documents.base / configured.certificate if configured else None)
    key = parts.options.tls_key or (documents.base / configured.key if configured else None)
    if configured is None and certificate is None and documents.broker.listen.client_certificates:
        raise ListenerRefused(
            "'client_certificates' needs TLS: 'tls' in the Broker document, or --tls-cert and --tls-key."
        )
    if (certificate is None) != (key is None):
        raise ListenerRefused("TLS needs both a certificate and a key: --tls-cert and --tls-key.")
    return tls_context(certificate, key) if certificate and key else None


def _metrics_app(parts: Parts, metrics: MetricsListener) -> ASGIApp:
    """Serve metrics; where a browser of this machine could be led there without a token, to this listener's names."""
    loopback = metrics.host.startswith("127.") or metrics.host == "::1"
    names = (metrics.host, "127.0.0.1", "localhost", "[::1]") if loopback and metrics.token is None else ()
    return metrics_app(parts.metrics, metrics.token, parts.refused, [f"{name}:{metrics.port}" for name in names])


def _security(documents: Snapshot, url: str) -> TransportSecuritySettings:
    """Accept the Host headers under which this listener is meant to be reached, and no web page's Origin."""
    listen, own = documents.broker.listen, urlsplit(url)
    hosts = {urlsplit(documents.broker.audience).netloc, *listen.hosts}
    origins = set(listen.origins)
    if documents.broker.consent is not None:  # people's browsers come there, and the page's own form says so
        hosts.add(urlsplit(documents.broker.consent.url).netloc)
        origins.add(documents.broker.consent.url)
    if listen.http.startswith(("127.", "[::1]")):
        local = {f"{host}:{own.port}" for host in ("127.0.0.1", "localhost", "[::1]")}
        hosts |= local
        origins |= {f"{own.scheme}://{host}" for host in local}
    return TransportSecuritySettings(
        allowed_hosts=sorted(host for host in hosts if host), allowed_origins=sorted(origins)
    )
