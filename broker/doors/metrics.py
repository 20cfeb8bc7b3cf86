"""The door of a monitoring system: one page, for whoever shows the token of this listener. An agent's proof is none."""

import hashlib
import hmac
from collections.abc import Sequence

from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from broker.doors.entrance import RefusedAuthentications
from broker.doors.mcp.http import HostChecked
from broker.errors import ProofMissing, ProofUntrusted, Unauthenticated
from broker.metrics import Metrics

_LONGEST = 4096  # characters of a header that are looked at
_MISSING = "Send the token of this listener as 'Authorization: Bearer <token>'."
_WRONG = "This is not the token of this listener: 'listen.metrics' in the Broker document names its file."


def metrics_app(
    metrics: Metrics, token: bytes | None, refused: RefusedAuthentications, hosts: Sequence[str] = ()
) -> ASGIApp:
    """Return what a monitoring system reaches.

    `token` is the SHA-256 of the token to be shown, None where none is needed. With `hosts`, other Host headers are
    refused, and every Origin: no web page reads it through somebody's browser.
    """

    async def page(request: Request) -> Response:
        try:
            _check(token, request.headers.get("authorization", ""))
        except Unauthenticated as refusal:
            await refused.count("metrics", request.client.host if request.client else "unknown", refusal)
            told = {"code": refusal.code, "message": refusal.message}
            return JSONResponse(told, status_code=401, headers={"WWW-Authenticate": "Bearer"})
        body, content_type = await metrics.text(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    app = Starlette(routes=[Route("/metrics", page, methods=["GET"])])
    return HostChecked(app, TransportSecuritySettings(allowed_hosts=list(hosts))) if hosts else app


def _check(token: bytes | None, header: str) -> None:
    """Return if the token is shown, or none is needed; raise `Unauthenticated` otherwise."""
    if token is None:
        return
    scheme, _, shown = header[:_LONGEST].partition(" ")
    if scheme.lower() != "bearer" or not shown.strip():
        raise ProofMissing(_MISSING)
    if not hmac.compare_digest(hashlib.sha256(shown.strip().encode()).digest(), token):
        raise ProofUntrusted(_WRONG, detail="not the token of the metrics' listener")
