"""The org's OAuth endpoints: assertions in, opaque access tokens out, and what becomes of those tokens.

Sources: Salesforce Help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration", "Revoke OAuth Tokens", "OpenID
Connect Token Introspection"; the error texts are those that users of simple-salesforce and of jsforce report.
As in the service: no refresh token, no `expires_in`, an assertion may be used again until it expires, and how long
a session lives is a setting of the org that no answer mentions. Unlike the service, every grant opens a new session.
"""

import re
import secrets
import time
from collections.abc import Mapping
from string import ascii_letters, digits
from typing import Any, Final
from urllib.parse import parse_qsl

from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jws import extract_compact
from joserfc.jwt import decode
from msgspec import DecodeError
from msgspec.json import decode as read_json
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from broker.testing.salesforce.errors import session_expired
from broker.testing.salesforce.org import ORGANIZATION_ID, USER_IDS

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LOGIN_URL: Final = "https://login.salesforce.com"
SCOPE: Final = "api id"
LONGEST_ASSERTION_SECONDS: Final = 300
_TOKEN_ALPHABET: Final = ascii_letters + digits + "._"
_TOKEN_LENGTH: Final = 96


class OAuthError(Exception):
    """An OAuth refusal: HTTP 400 and `{"error": ..., "error_description": ...}`."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class TokenMint:
    """Makes access tokens that look like the real ones, `00D...!AQ...`, and remembers every one in `minted`.

    Each carries `canary` in clear, so that a leak can be looked for without knowing the token.
    """

    def __init__(self, canary: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._]{1,32}", canary):
            raise ValueError("A canary has 1 to 32 of the characters that an access token has: A-Z a-z 0-9 . _")
        self._head = f"AQ{canary}"
        self.minted: list[str] = []

    def mint(self) -> str:
        """Make a token that no one can guess."""
        tail = "".join(secrets.choice(_TOKEN_ALPHABET) for _ in range(_TOKEN_LENGTH - len(self._head)))
        self.minted.append(f"{ORGANIZATION_ID[:15]}!{self._head}{tail}")
        return self.minted[-1]


class AuthorizationServer:
    """Knows one registered app and its one approved user, and every session it opened for them.

    An assertion's `aud` may be the login host that every client hard-codes, or `url`.
    """

    def __init__(
        self,
        url: str,
        public_key: RSAKey,
        mint: TokenMint,
        *,
        consumer_key: str,
        username: str,
        session_seconds: float,
    ) -> None:
        self.url = url
        self._public_key = public_key
        self._mint = mint
        self._consumer_key = consumer_key
        self._username = username
        self._session_seconds = session_seconds
        self._ends: dict[str, float] = {}

    def routes(self) -> list[Route]:
        """List the endpoints under `/services/oauth2/`."""
        return [
            Route("/services/oauth2/token", self._token, methods=["POST"]),
            Route("/services/oauth2/revoke", self._revoke, methods=["POST"]),
            Route("/services/oauth2/introspect", self._introspect, methods=["POST"]),
            Route("/services/oauth2/userinfo", self._userinfo, methods=["GET", "POST"]),
        ]

    def require_session(self, authorization: str | None) -> None:
        """Pass a live bearer token; anything else is the data resources' 401."""
        if not self._is_live(_bearer(authorization)):
            raise session_expired()

    def expire_tokens(self) -> None:
        """End every session by its timeout, as if the time had passed."""
        self._ends = dict.fromkeys(self._ends, 0.0)

    def revoke_tokens(self) -> None:
        """Forget every session, as an administrator does who revokes the app's access."""
        self._ends = {}

    def grant(self, form: Mapping[str, str]) -> dict[str, str]:
        """Answer a token request, or raise OAuthError."""
        if form.get("grant_type") != GRANT_TYPE:
            raise OAuthError("unsupported_grant_type", "grant type not supported")
        self._check(form.get("assertion", ""))
        token = self._mint.mint()
        self._ends[token] = time.time() + self._session_seconds
        return {
            "access_token": token,
            "scope": SCOPE,
            "instance_url": self.url,
            "id": self._identity(),
            "token_type": "Bearer",
        }

    def _check(self, assertion: str) -> None:
        if _unverified_issuer(assertion) != self._consumer_key:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        try:
            claims = decode(assertion, self._public_key, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            raise _invalid_assertion() from None

        if claims.get("aud") not in (LOGIN_URL, self.url):
            raise OAuthError("invalid_grant", "audience is invalid")
        remaining = _seconds(claims.get("exp")) - time.time()
        if remaining <= 0:
            raise OAuthError("invalid_grant", "expired authorization code")
        if remaining > LONGEST_ASSERTION_SECONDS:
            raise _invalid_assertion()
        if claims.get("sub") != self._username:
            raise OAuthError("invalid_grant", "user hasn't approved this consumer")

    def _is_live(self, token: str) -> bool:
        return time.time() < self._ends.get(token, 0.0)

    def _identity(self) -> str:
        return f"{self.url}/id/{ORGANIZATION_ID}/{USER_IDS[0]}"

    async def _token(self, request: Request) -> Response:
        try:
            answer = self.grant(await _form(request))
        except OAuthError as refused:
            return _refusal(refused)
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def _revoke(self, request: Request) -> Response:
        token = (await _form(request)).get("token", "")
        if self._ends.pop(token, None) is None:
            return _refusal(OAuthError("invalid_token", "invalid token"))
        return Response()

    async def _introspect(self, request: Request) -> Response:
        # The service asks for the app's secret too; this app has none, it signs assertions.
        form = await _form(request)
        if form.get("client_id") != self._consumer_key:
            return _refusal(OAuthError("invalid_client_id", "client identifier invalid"))
        token = form.get("token", "")
        if not self._is_live(token):
            return JSONResponse({"active": False})
        end = int(self._ends[token])
        issued = int(end - self._session_seconds)
        return JSONResponse(
            {
                "active": True,
                "scope": SCOPE,
                "client_id": self._consumer_key,
                "username": self._username,
                "sub": self._identity(),
                "token_type": "access_token",
                "exp": end,
                "iat": issued,
                "nbf": issued,
            },
        )

    async def _userinfo(self, request: Request) -> Response:
        if not self._is_live(_bearer(request.headers.get("authorization"))):
            return PlainTextResponse("Bad_OAuth_Token", status_code=403)
        return JSONResponse(
            {
                "sub": self._identity(),
                "user_id": USER_IDS[0],
                "organization_id": ORGANIZATION_ID,
                "preferred_username": self._username,
                "email": self._username,
                "email_verified": True,
                "active": True,
                "user_type": "STANDARD",
                "urls": {"rest": f"{self.url}/services/data/v{{version}}/"},
            },
        )


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() in {"bearer", "oauth"} else ""


def _unverified_issuer(assertion: str) -> str:
    try:
        claims = read_json(extract_compact(assertion.encode()).payload, type=dict[str, Any])
    except (JoseError, DecodeError, ValueError):
        raise _invalid_assertion() from None
    return str(claims.get("iss"))


def _invalid_assertion() -> OAuthError:
    return OAuthError("invalid_grant", "invalid assertion")


def _seconds(claim: Any) -> int:
    try:
        return int(claim)  # simple-salesforce writes `exp` as a text, and the service takes it
    except (TypeError, ValueError, OverflowError):
        raise _invalid_assertion() from None


def _refusal(refused: OAuthError) -> Response:
    return JSONResponse({"error": refused.error, "error_description": refused.description}, status_code=400)


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
