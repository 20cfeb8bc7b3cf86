"""Callers who prove themselves in a TLS handshake: with this listener, or with a proxy that has one of its own here."""

from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from broker.errors import ProofMalformed, ProofMissing, ProxyUnknown
from broker.identity import Proof, parse_forwarded

CHAIN = "aam.chain"
"""Where a listener notes, in a connection's state, the certificates that its peer has shown (DER, leaf first)."""
_PROXY = "aam.proxy"
_HEADER = b"x-forwarded-client-cert"


class ByProxy:
    """Serves what the proxy passes on. Only through here is `X-Forwarded-Client-Cert` read; elsewhere it is nothing.

    `uid` is the user as whom alone a connection on a Unix socket is taken. `uri_alone` takes the proxy's word where it
    forwards no certificate.
    """

    def __init__(self, app: ASGIApp, uid: int | None, *, uri_alone: bool) -> None:
        self._app = app
        self._uid = uid
        self._uri_alone = uri_alone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app({**scope, _PROXY: self}, receive, send)

    def proof(self, scope: Scope) -> Proof:
        """Return what the proxy says of its caller; raise `Unauthenticated` if it cannot be believed."""
        source = scope["client"][0] if scope.get("client") else "unknown"
        if self._uid is not None and source != f"uid:{self._uid}":
            raise ProxyUnknown(detail=f"{source} connected")
        values = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
        if not values:
            return Proof()
        if len(values) > 1:
            raise ProofMalformed("The proxy sends X-Forwarded-Client-Cert twice; let it replace what its caller wrote.")
        forwarded = parse_forwarded(values[0])
        if not forwarded.chain and not self._uri_alone:
            raise ProofMissing("The proxy forwards no certificate; let it set Cert and Chain.")
        return Proof(chain=forwarded.chain, vouched=None if forwarded.chain else forwarded.uri)


def certified(scope: Scope, token: str | None) -> Proof:
    """Return a proof by token, and by what the TLS handshake of a request's caller proves, as far as it is known here.

    Raises `Unauthenticated` for a forwarded certificate that cannot be believed.
    """
    proxy: ByProxy | None = scope.get(_PROXY)
    if proxy is not None:
        return replace(proxy.proof(scope), token=token)
    return Proof(token, chain=scope.get("state", {}).get(CHAIN, ()))
