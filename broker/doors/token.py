"""The token endpoint (RFC 6749 §3.2): an agent that proves itself gets a token for a person who has delegated to it.

One grant only: an identity assertion (ID-JAG) as JWT bearer (RFC 7523 §2.1). The client authenticates with its JWT-SVID
(draft-ietf-oauth-spiffe-client-auth), whose audience is this authorization server.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.doors.entrance import Entrance
from broker.errors import AgentBarred, InsufficientScope, Refusal, Unauthenticated
from broker.identity import Identifier, Proof
from broker.vault import Delegations

PATH = "/oauth2/token"
_METADATA = "/.well-known/oauth-authorization-server"  # RFC 8414 §3
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_CLIENT = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
_PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"
_LARGEST_FORM = 32 << 10


def authorization_server(audience: str) -> str:
    """Return the name of the broker as an authorization server: the origin of its audience."""
    parts = urlsplit(audience)
    return f"{parts.scheme}://{parts.netloc}"


class TokenEndpoint:
    """Serves the endpoint and its metadata."""

    def __init__(
        self, server: str, entrance: Entrance, identifier: Identifier, delegations: Delegations, resource: str
    ) -> None:
        self._server = server
        self._entrance = entrance
        self._identifier = identifier
        self._delegations = delegations
        self._resource = resource

    def routes(self) -> list[Route]:
        """Return what is served, and where: nothing, where the broker's audience is no URL."""
        if not self._server.startswith(("https://", "http://")):
            return []
        return [Route(PATH, self.token, methods=["POST"]), Route(_METADATA, self.metadata)]

    async def metadata(self, _request: Request) -> Response:
        """Say what the endpoint does."""
        return JSONResponse(
            {
                "issuer": self._server,
                "token_endpoint": self._server + PATH,
                "grant_types_supported": [_GRANT],
                "authorization_grant_profiles_supported": [_PROFILE],
                "token_endpoint_auth_methods_supported": ["spiffe_jwt"],
                "response_types_supported": [],
            }
        )

    async def token(self, request: Request) -> Response:
        """Answer one request of a client."""
        form = await _form(request)
        if form is None:
            return _error("invalid_request", 400)
        if form.get("grant_type") != _GRANT:
            return _error("unsupported_grant_type", 400)
        if form.get("client_assertion_type") != _CLIENT:
            return _error("invalid_client", 401)
        if form.get("resource", self._resource) != self._resource:
            return _error("invalid_target", 400)
        source = request.client.host if request.client else "unknown"
        return await self._exchange(form, source)

    async def _exchange(self, form: Mapping[str, str], source: str) -> Response:
        admit, turn_away = self._entrance.admit, self._entrance.turn_away
        try:
            proof = Proof(token=form.get("client_assertion", ""))
            caller = await admit(proof, "streamable-http", source, identifier=self._identifier)
        except (Unauthenticated, AgentBarred) as refusal:
            return _error("invalid_client", 401, refusal)
        try:
            issued = await self._delegations.exchange(form.get("assertion", ""), caller.identity)
        except (Unauthenticated, AgentBarred) as refusal:
            await turn_away(refusal, "streamable-http", source)
            return _error("invalid_scope" if isinstance(refusal, InsufficientScope) else "invalid_grant", 400, refusal)
        except Refusal as refusal:
            return _error("temporarily_unavailable", 503, refusal)
        answer: dict[str, Any] = {"access_token": issued.text, "token_type": "Bearer", "expires_in": issued.seconds}
        if issued.scopes:
            answer["scope"] = " ".join(issued.scopes)
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})


async def _form(request: Request) -> Mapping[str, str] | None:
    """Return the form's fields; None if it is no form, too large, or says one thing twice (RFC 6749 §3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > _LARGEST_FORM:
            return None
    try:
        fields = parse_qsl(text.decode("ascii"), strict_parsing=True, max_num_fields=20)
    except ValueError:
        return None
    found = dict(fields)
    return found if kind == "application/x-www-form-urlencoded" and len(found) == len(fields) else None


def _error(code: str, status: int, refusal: Refusal | None = None) -> Response:
    """RFC 6749 §5.2; the description is our own stable code."""
    described = {"error_description": refusal.code} if refusal is not None else {}
    return JSONResponse({"error": code, **described}, status_code=status, headers={"Cache-Control": "no-store"})
