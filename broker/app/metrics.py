"""The listener of a monitoring system: its own, so that nobody who comes for tools or models meets it."""

import contextlib
import hashlib
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from broker.app.http import HttpServer
from broker.app.listeners import tcp_socket, tls_context
from broker.documents.models import MetricsPart
from broker.errors import ListenerRefused

_SHORTEST, _LONGEST = 32, 512  # characters of a token


@dataclass(frozen=True, slots=True)
class MetricsListener:
    """A bound listener, and the digest of the token that is shown there; None where nobody else reaches it."""

    socket: socket.socket
    tls: ssl.SSLContext | None
    token: bytes | None
    host: str
    port: int

    @property
    def url(self) -> str:
        """Where it is scraped."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/metrics"

    def server(self, app: ASGIApp) -> HttpServer:
        """Serve it."""
        return HttpServer(app, tls=self.tls)


def bind_metrics(bound: contextlib.ExitStack, part: MetricsPart, base: Path) -> MetricsListener:
    """Bind the listener; `bound` takes it away again. Raises `ListenerRefused`, also for a token that is none."""
    token = None if part.token_file is None else token_digest(base / part.token_file)
    tls = None if part.tls is None else tls_context(base / part.tls.certificate, base / part.tls.key)
    listener = bound.enter_context(tcp_socket(part.http))
    host, port = listener.getsockname()[:2]
    return MetricsListener(listener, tls, token, host, port)


def token_digest(path: Path) -> bytes:
    """Return the SHA-256 of the token in a file; raise `ListenerRefused` if there is none that could be used."""
    try:
        with path.open("rb") as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(_LONGEST + 2).strip()
    except OSError as error:
        raise ListenerRefused(f"The token file {path} of 'listen.metrics' cannot be read: {error.strerror}.") from None
    if mode & stat.S_IRWXO:
        raise ListenerRefused(f"Everybody on this machine may read the token file {path}: chmod 640 {path}")
    if not _SHORTEST <= len(text) <= _LONGEST or not all(0x21 <= one <= 0x7E for one in text):  # noqa: PLR2004 - printable ASCII
        raise ListenerRefused(
            f"The token file {path} must hold one token of {_SHORTEST} to {_LONGEST} printable characters; "
            f"make one: (umask 077; openssl rand -hex 32 > {path})"
        )
    return hashlib.sha256(text).digest()
