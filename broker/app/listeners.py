"""The sockets that the daemon listens on, opened with the right owner, mode and protection or not at all."""

import grp
import ipaddress
import os
import socket
import ssl
import stat
from pathlib import Path

from broker.documents import BrokerDocument
from broker.documents.listen import LONGEST_SOCKET_PATH
from broker.errors import ListenerRefused

_BACKLOG = 2048
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all good


def http_socket(document: BrokerDocument, *, tls: bool) -> socket.socket:
    """Bind the agents' HTTP listener; refuse a network address that nothing protects."""
    listen = document.listen
    address = ipaddress.ip_address(listen.http.rpartition(":")[0].strip("[]"))
    if not address.is_loopback and not tls and not listen.behind_tls_proxy:
        raise ListenerRefused(
            f"{listen.http} is reachable from the network without TLS. Give --tls-cert and --tls-key, "
            "or say 'behind_tls_proxy: true' if a proxy that alone reaches it terminates TLS."
        )
    return tcp_socket(listen.http)


def tcp_socket(where: str) -> socket.socket:
    """Bind an address:port, protected or not."""
    host, _, port = where.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004 - IP's version
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # without it, asyncio leaves Nagle on
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(address), int(port)))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenerRefused(f"{where} cannot be listened on: {error.strerror}.") from None
    listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return listener


def unix_socket(path: Path, mode: int, group: str | None = None) -> socket.socket:
    """Bind a Unix socket; one in its place on which nobody listens is taken away, anything else is not."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise ListenerRefused(
            f"The socket's path {path} is over {LONGEST_SOCKET_PATH} bytes long; configure a shorter one."
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _clear(path)
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
    except ListenerRefused:
        listener.close()
        raise
    listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return listener


def _clear(path: Path) -> None:
    """Take a dead socket away; raise `ListenerRefused` for a live one and for what is no socket."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ListenerRefused(f"{path} is there and is no socket.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        try:
            knock.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue is full: there is somebody
    raise ListenerRefused(f"Another process is listening on {path}.")


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what serves TLS; raise `ListenerRefused` for files that cannot, and never ask for a passphrase."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    try:
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise ListenerRefused(
            f"The TLS files {certificate} and {key} cannot be used: {error.strerror or error}. "
            "A certificate chain and its private key in PEM form, without a passphrase, are expected."
        ) from None
    return context
