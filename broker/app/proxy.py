"""The listener of the proxy that ends mutual TLS: its own, which nobody else reaches."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from broker.app.http import HttpServer, PeerProtocol
from broker.app.listeners import tcp_socket, unix_socket
from broker.documents.agents import user_id
from broker.documents.models import ProxyPart
from broker.doors.mcp.certificates import ByProxy
from broker.errors import ListenerRefused


@dataclass(frozen=True, slots=True)
class ProxyListener:
    """A bound listener, and as whom alone a connection to it is taken; None for an address, where nobody can tell."""

    socket: socket.socket
    uid: int | None
    where: str
    uri_alone: bool

    def server(self, app: ASGIApp) -> HttpServer:
        """Serve what the proxy passes on."""
        own = ByProxy(app, self.uid, uri_alone=self.uri_alone)
        return HttpServer(own, protocol=None if self.uid is None else PeerProtocol)


def bind_proxy(bound: contextlib.ExitStack, proxy: ProxyPart, base: Path) -> ProxyListener:
    """Bind the proxy's listener; `bound` takes it away again. Raises `ListenerRefused`."""
    if proxy.http is not None:
        listener = bound.enter_context(tcp_socket(proxy.http))
        host, port = listener.getsockname()[:2]
        return ProxyListener(listener, None, f"http://{f'[{host}]' if ':' in host else host}:{port}", proxy.uri_alone)
    uid = user_id(str(proxy.user))
    if uid is None:
        raise ListenerRefused(f"There is no user {proxy.user!r} on this machine, whom 'listen.proxy' names.")
    path = base / str(proxy.socket)
    listener = bound.enter_context(unix_socket(path, 0o666))  # whoever it is, the kernel tells us
    bound.callback(path.unlink, missing_ok=True)
    return ProxyListener(listener, uid, str(path), proxy.uri_alone)
