"""The org's OAuth endpoints: what opens a session, what renews it, what is told of it, and what ends it.

Sources: Salesforce Help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration", "OAuth 2.0 Web Server Flow for
Web App Integration", "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration", "OAuth 2.0 Refresh Token
Flow for Renewed Sessions", "Refresh Token Rotation", "Revoke OAuth Tokens", "OpenID Connect Token Introspection" and
"OpenID Connect Discovery Endpoint"; the error texts are those that users of simple-salesforce and of jsforce report.

As in the service: no answer has `expires_in`, since how long a session lives is a setting of the org; assertions and
client credentials get no refresh token; `issued_at` is milliseconds, as a text. Unlike the service, every grant opens a
new session, and there are no ID tokens: `openid` is no scope here.
"""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from broker.testing.salesforce.assertions import asserted
from broker.testing.salesforce.consent import Consent
from broker.testing.salesforce.errors import session_expired
from broker.testing.salesforce.external_app import ExternalApp, OAuthError
from broker.testing.salesforce.tokens import ORGANIZATION_ID, Approval, Session, Sessions, TokenMint
from broker.testing.salesforce.users import BY_USERNAME, Person

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE: Final = "api id"

Form = Mapping[str, str]


class AuthorizationServer:
    """Knows one registered app, the people of the org, and every session it opened for them.

    `username` is the one user for whom assertions are approved from the start.
    """

    def __init__(self, url: str, app: ExternalApp, mint: TokenMint, *, username: str, session_seconds: float) -> None:
        self.url = url
        self.app = app
        self.sessions = Sessions(mint, session_seconds)
        self.consent = Consent(app, mint)
        self._username = username
        self._grants: Mapping[str, Callable[[Form, str | None], dict[str, str]]] = MappingProxyType(
            {
                GRANT_TYPE: self._jwt_bearer,
                "authorization_code": self._authorization_code,
                "refresh_token": self._refresh,
                "client_credentials": self._client_credentials,
            }
        )

    def routes(self) -> list[Route]:
        """List the endpoints under `/services/oauth2/`, and the document that lists them."""
        return [
            Route("/.well-known/openid-configuration", self._discovery, methods=["GET"]),
            Route("/services/oauth2/authorize", self._authorize, methods=["GET", "POST"]),
            Route("/services/oauth2/token", self._token, methods=["POST"]),
            Route("/services/oauth2/revoke", self._revoke, methods=["GET", "POST"]),
            Route("/services/oauth2/introspect", self._introspect, methods=["POST"]),
            Route("/services/oauth2/userinfo", self._userinfo, methods=["GET", "POST"]),
        ]

    def require_session(self, authorization: str | None) -> Session:
        """Return what a live bearer token opens; anything else is the data resources' 401."""
        session = self.sessions.live(_bearer(authorization))
        if session is None:
            raise session_expired()
        return session

    def grant(self, form: Form, authorization: str | None = None) -> dict[str, str]:
        """Answer a token request, or raise OAuthError."""
        answer = self._grants.get(form.get("grant_type", ""))
        if answer is None:
            raise OAuthError("unsupported_grant_type", "grant type not supported")
        return answer(form, authorization)

    def _jwt_bearer(self, form: Form, _: str | None) -> dict[str, str]:
        person = asserted(form.get("assertion", ""), self.app, self.url, self._username)
        token, approval = self.sessions.open(person, SCOPE)
        return self._answer(token, approval)

    def _authorization_code(self, form: Form, authorization: str | None) -> dict[str, str]:
        self.app.authenticate(form, authorization, self.url)
        code = self.consent.spend(form)
        token, approval = self.sessions.open(code.person, code.scope)
        lasting = {"refresh_token", "offline_access"} & set(code.scope.split())
        renewal = {"refresh_token": self.sessions.renewable(approval)} if lasting else {}
        return self._signed(token, approval) | renewal

    def _refresh(self, form: Form, authorization: str | None) -> dict[str, str]:
        self.app.authenticate(form, authorization, self.url)
        given = form.get("refresh_token", "")
        approval = self.sessions.renews(given)
        if approval is None:
            raise OAuthError("invalid_grant", "expired access/refresh token")
        answer = self._signed(self.sessions.reopen(approval), approval)
        if self.app.rotates_refresh_tokens:
            self.sessions.spend(given)
            answer["refresh_token"] = self.sessions.renewable(approval)
        return answer

    def _client_credentials(self, form: Form, authorization: str | None) -> dict[str, str]:
        self.app.authenticate(form, authorization, self.url)
        if self.app.run_as is None:
            raise OAuthError("invalid_grant", "no client credentials user enabled")
        token, approval = self.sessions.open(BY_USERNAME[self.app.run_as], SCOPE)
        return self._signed(token, approval)

    def _answer(self, token: str, approval: Approval) -> dict[str, str]:
        return {
            "access_token": token,
            "scope": approval.scope,
            "instance_url": self.url,
            "id": self._identity(approval.person),
            "token_type": "Bearer",
        }

    def _signed(self, token: str, approval: Approval) -> dict[str, str]:
        issued_at = str(int(time.time() * 1000))
        signature = self.app.sign(self._identity(approval.person), issued_at)
        return self._answer(token, approval) | {"signature": signature, "issued_at": issued_at}

    def _identity(self, person: Person) -> str:
        return f"{self.url}/id/{ORGANIZATION_ID}/{person.id}"

    # --- The endpoints -----------------------------------------------------------------------------------------------

    async def _discovery(self, _: Request) -> Response:
        endpoint = f"{self.url}/services/oauth2"
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{endpoint}/authorize",
                "token_endpoint": f"{endpoint}/token",
                "revocation_endpoint": f"{endpoint}/revoke",
                "introspection_endpoint": f"{endpoint}/introspect",
                "userinfo_endpoint": f"{endpoint}/userinfo",
                "scopes_supported": sorted(self.app.scopes),
                "response_types_supported": ["code"],
                "token_endpoint_auth_methods_supported": [
                    *("client_secret_post", "client_secret_basic", "private_key_jwt")
                ],
            },
        )

    async def _authorize(self, request: Request) -> Response:
        if request.method == "POST":
            return self.consent.decide(await _form(request))
        return self.consent.ask(request.query_params)

    async def _token(self, request: Request) -> Response:
        try:
            answer = self.grant(await _form(request), request.headers.get("authorization"))
        except OAuthError as refused:
            return _refusal(refused)
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def _revoke(self, request: Request) -> Response:
        form = await _form(request) if request.method == "POST" else request.query_params
        if not self.sessions.revoke(form.get("token", "")):
            return _refusal(OAuthError("invalid_token", "invalid token"))
        return Response()

    async def _introspect(self, request: Request) -> Response:
        form = await _form(request)
        try:
            self.app.authenticate(form, request.headers.get("authorization"), self.url)
        except OAuthError as refused:
            return _refusal(refused)
        token = form.get("token", "")
        session, renewing = self.sessions.live(token), self.sessions.renews(token)
        if session is not None:
            end = int(session.end)
            times = {"exp": end, "iat": int(end - self.sessions.seconds), "nbf": int(end - self.sessions.seconds)}
            return JSONResponse(self._told(session.approval, "access_token") | times)
        if renewing is not None:
            return JSONResponse(self._told(renewing, "refresh_token"))
        return JSONResponse({"active": False})

    def _told(self, approval: Approval, kind: str) -> dict[str, Any]:
        return {
            "active": True,
            "scope": approval.scope,
            "client_id": self.app.consumer_key,
            "username": approval.person.username,
            "sub": self._identity(approval.person),
            "token_type": kind,
        }

    async def _userinfo(self, request: Request) -> Response:
        session = self.sessions.live(_bearer(request.headers.get("authorization")))
        if session is None:
            return PlainTextResponse("Bad_OAuth_Token", status_code=403)
        person = session.approval.person
        return JSONResponse(
            {
                "sub": self._identity(person),
                "user_id": person.id,
                "organization_id": ORGANIZATION_ID,
                "preferred_username": person.username,
                "name": person.name,
                "email": person.email,
                "email_verified": True,
                "active": True,
                "user_type": "STANDARD",
                "urls": {"rest": f"{self.url}/services/data/v{{version}}/"},
            },
        )


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() in {"bearer", "oauth"} else ""


def _refusal(refused: OAuthError) -> Response:
    return JSONResponse({"error": refused.error, "error_description": refused.description}, status_code=400)


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
