"""The sockets that the daemon listens on, opened with the right owner, mode and protection or not at all."""

import grp
import ipaddress
import os
import socket
import stat
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.documents import BrokerDocument
from broker.errors import ListenerRefused
from broker.identity import socket_peer

_LONGEST_PATH = 100  # bytes; sun_path holds 108 on Linux and 104 elsewhere
_BACKLOG = 2048


def http_socket(document: BrokerDocument, *, tls: bool) -> socket.socket:
    """Bind the agents' HTTP listener; refuse a network address that nothing protects."""
    host, _, port = document.listen.http.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    if not address.is_loopback and not tls and not document.listen.behind_tls_proxy:
        raise ListenerRefused(
            f"{document.listen.http} is reachable from the network without TLS. Give --tls-cert and --tls-key, "
            "or say 'behind_tls_proxy: true' if a proxy that alone reaches it terminates TLS."
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004 - IP's version
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # without it, asyncio leaves Nagle on
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(address), int(port)))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenerRefused(f"{document.listen.http} cannot be listened on: {error.strerror}.") from None
    listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return listener


def unix_socket(path: Path, mode: int, group: str | None = None) -> socket.socket:
    """Bind a Unix socket; a dead one in its place is taken away, anything else is not."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ListenerRefused(f"The socket's path {path} is over {_LONGEST_PATH} bytes long; configure a shorter one.")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if path.exists():
            if not stat.S_ISSOCK(path.stat().st_mode):
                raise ListenerRefused(f"{path} is there and is no socket.")
            path.unlink()
        mask = os.umask(0o777 & ~mode)  # so that it is never wider than it will be
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        path.chmod(mode)
        if group is not None:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        listener.listen(_BACKLOG)
    except (OSError, KeyError) as error:
        listener.close()
        raise ListenerRefused(f"The socket {path} cannot be opened: {error}.") from None
    listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return listener


class HttpServer(uvicorn.Server):
    """uvicorn, whose life is the daemon's to decide."""

    def __init__(
        self, app: ASGIApp, *, certificate: str | None = None, key: str | None = None, by_peer: bool = False
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=PeerProtocol if by_peer else "httptools",
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=2,
                ssl_certfile=certificate,
                ssl_keyfile=key,
            )
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `should_exit`; signals are the daemon's."""
        await self._serve(sockets)


class PeerProtocol(HttpToolsProtocol):
    """HTTP on a Unix socket, noting the peer's user as the client's name: `uid:1000`."""

    def connection_made(self, transport: object) -> None:
        """Ask the kernel who connects; whoever it does not name is nobody."""
        super().connection_made(transport)  # type: ignore[arg-type]
        try:
            peer = socket_peer(transport.get_extra_info("socket"))  # type: ignore[attr-defined]
            self.client = (f"uid:{peer.uid}", peer.pid)
        except OSError:
            self.client = None
