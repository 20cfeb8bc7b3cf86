"""Streamable HTTP and what is served beside it: the bearer layer, resource metadata, health."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mcp_types as types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, AuthorizationContext
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.control import Barred
from broker.doors.entrance import CALLING, Caller, Entrance
from broker.doors.mcp.certificates import certified
from broker.doors.mcp.refusals import NOT_ADMITTED
from broker.doors.mcp.resource import ProtectedResource
from broker.doors.mcp.sse import SseDoor
from broker.doors.mcp.streams import OpenStreams
from broker.doors.token import TokenEndpoint
from broker.errors import (
    AgentBarred,
    Cut,
    InsufficientScope,
    ProofMalformed,
    Refusal,
    TooManyConnections,
    Unauthenticated,
)
from broker.identity import Proof
from broker.pipeline import Transport

_MOST_SESSIONS_OF_AN_AGENT = 256
_ORIGINS = frozenset({b"host", b"origin"})
"""What the check of a request looks at, and nothing else."""
_MOST_GOOD = 64


class Sessions(StreamableHTTPSessionManager):
    """The SDK's sessions of the handshake revisions, bound to their principal, counted and ended by agent."""

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        agent = requestor and requestor["subject"]
        if sum(owner["subject"] == agent for owner in self._session_owners.values()) >= _MOST_SESSIONS_OF_AN_AGENT:
            return None  # as at the limit for all
        return super()._admit_session(requestor)

    async def cut(self, barred: Barred) -> None:
        """End the sessions of barred agents."""
        for session_id, owner in list(self._session_owners.items()):
            transport = self._server_instances.get(session_id)  # who ends another one meanwhile has ended it
            if transport is not None and barred(owner["subject"] or ""):
                await self._discard_session(session_id, transport)


def agents_app(
    streamable: Sessions,
    sse: SseDoor,
    entrance: Entrance,
    security: TransportSecuritySettings,
    resource: ProtectedResource,
    tokens: TokenEndpoint,
    ready: Callable[[], Mapping[str, Any] | None],
    streams: OpenStreams,
    pages: Sequence[Route] = (),
    posted: Mapping[str, ASGIApp] | None = None,
) -> ASGIApp:
    """Return everything that is reached over HTTP. `ready` returns None, or what keeps the broker from serving.

    Every request of an agent is among `streams` as long as it is open; `pages` are for people's browsers. `posted`
    serves what is posted to its paths, and answers whatever happens there by itself.
    """

    async def protected_resource(_request: Request) -> Response:
        return JSONResponse(resource.metadata())

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readiness(_request: Request) -> Response:
        trouble = ready()
        return JSONResponse(trouble or {"status": "ok"}, status_code=503 if trouble else 200)

    def admitted(app: ASGIApp, transport: Transport) -> "Admitted":
        return Admitted(app, entrance, transport, resource)

    app = Starlette(
        routes=[
            Route("/mcp", admitted(Open(streamable.handle_request, streams).serve, "streamable-http")),
            Route("/sse", admitted(sse.open, "sse"), methods=["GET"]),
            Mount("/messages/", admitted(Open(sse.post, streams).serve, "sse")),
            *(Route(path, protected_resource) for path in resource.paths),
            *tokens.routes(),
            Route("/healthz", health),
            Route("/readyz", readiness),
            *pages,
        ]
    )
    return HostChecked(app, security, posted)


class HostChecked:
    """Refuses foreign Host and Origin headers on every path, so that a web page cannot reach a local broker.

    What is posted to one of the paths of `posted` is served there; to look along all routes costs what a model's call
    takes to be decided.
    """

    def __init__(
        self, app: ASGIApp, security: TransportSecuritySettings, posted: Mapping[str, ASGIApp] | None = None
    ) -> None:
        self._app = app
        self._posted = posted or {}
        self._security = TransportSecurityMiddleware(security)
        self._good: set[tuple[bytes, ...]] = set()
        """Headers that have been found good before."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]  # RFC 9110 §5.5
        refused = await self._refused(scope, tuple(part for one in headers if one[0] in _ORIGINS for part in one))
        posted = self._posted.get(scope["path"]) if scope["method"] == "POST" else None
        await (refused or posted or self._app)(scope, receive, send)

    async def _refused(self, scope: Scope, checked: tuple[bytes, ...]) -> Response | None:
        if checked in self._good:
            return None
        refused = await self._security.validate_request(Request(scope))
        if refused is None and len(self._good) < _MOST_GOOD:
            self._good.add(checked)
        return refused


class Admitted:
    """Lets a request through once its bearer token has proved an agent that may call; 401 or 403 otherwise."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Any],
        entrance: Entrance,
        transport: Transport,
        resource: ProtectedResource,
    ) -> None:
        self._app = app
        self._entrance = entrance
        self._transport: Transport = transport
        self._resource = resource

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        source = scope["client"][0] if scope.get("client") else "unknown"
        try:
            caller = await self._entrance.admit(await self._proof(scope, source), self._transport, source)
        except Unauthenticated as refusal:
            await self._unauthorized(refusal)(scope, receive, send)
        except AgentBarred as refusal:
            await _error(refusal, 403)(scope, receive, send)
        else:
            scope["user"] = _principal(
                caller.identity.principal, caller.identity.spiffe_id, caller.identity.trust_domain
            )
            scope["aam.caller"] = caller
            CALLING.set(caller)
            try:
                await self._app(scope, receive, send)
            except TooManyConnections as refusal:
                await _error(refusal, 429)(scope, receive, send)

    async def _proof(self, scope: Scope, source: str) -> Proof:
        """Return what the request presents; what is no proof at all is counted like one that is refused."""
        try:
            return certified(scope, _bearer(scope))
        except Unauthenticated as refusal:
            await self._entrance.turn_away(refusal, self._transport, source)
            raise

    def _unauthorized(self, refusal: Unauthenticated) -> Response:
        response = _error(refusal, 403 if isinstance(refusal, InsufficientScope) else 401)
        response.headers["WWW-Authenticate"] = self._resource.challenge(refusal)
        return response


class Open:
    """Keeps a request among the open streams until it is answered, or its agent may no longer call."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Any], streams: OpenStreams) -> None:
        self._app = app
        self._streams = streams

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an admitted request. An answer that is cut ends as HTTP wants it to."""
        begun = ended = False

        async def sending(message: Message) -> None:
            nonlocal begun, ended
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        caller: Caller = scope["aam.caller"]
        with self._streams.opened(caller.identity.spiffe_id) as stream:
            await self._app(scope, receive, sending)
        if stream.scope.cancelled_caught and not begun:
            await _error(Cut(), 403)(scope, receive, send)
        elif stream.scope.cancelled_caught and not ended:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _bearer(scope: Scope) -> str | None:
    """Return the token of the one Authorization header; None if there is no header."""
    given: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        return None
    scheme, _, token = given[0].decode("latin-1").partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token:
        raise ProofMalformed("Exactly one header is expected: 'Authorization: Bearer <token>'.")
    return token


@functools.lru_cache(maxsize=4096)
def _principal(principal: str, spiffe_id: str, trust_domain: str) -> AuthenticatedUser:
    """Name the principal for the SDK, which binds sessions to it; the token itself stays out."""
    return AuthenticatedUser(
        AccessToken(
            token="",
            client_id=principal,
            scopes=[],
            subject=spiffe_id,
            claims={"iss": f"spiffe://{trust_domain}"},
        )
    )


def _error(refusal: Refusal, status: int) -> Response:
    body = types.JSONRPCError(
        jsonrpc="2.0",
        id=None,
        error=types.ErrorData(code=NOT_ADMITTED, message=refusal.message, data={"code": refusal.code}),
    )
    text = json.dumps({**body.model_dump(mode="json", by_alias=True, exclude_none=True), "id": None})
    return Response(text, status_code=status, media_type="application/json")
