"""The registered app: its key, its secret, what it may ask for, and how it proves itself.

Sources: Salesforce Help, "Configure the External Client App OAuth Settings", "OAuth 2.0 Web Server Flow", "OAuth 2.0
Client Credentials Flow" and "Refresh Token Rotation". An app proves itself by its secret, in the form or as HTTP
Basic, or by an assertion that it signed (`client_assertion`, RFC 7523 §2.2).
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_plus

from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jwt import decode

CLIENT_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_ASSERTION_SECONDS: Final = 300


class OAuthError(Exception):
    """An OAuth refusal: HTTP 400 and `{"error": ..., "error_description": ...}`."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


@dataclass(slots=True)
class ExternalApp:
    """One app, as its administrator set it up; a test may change the settings while the service runs.

    `preauthorized`: the users whom the administrator approved, who see no page that asks them. `run_as`: as whom client
    credentials act, None where that flow is off. `callback_urls` are compared as they are written.
    """

    consumer_key: str
    public_key: RSAKey
    consumer_secret: str = field(default_factory=lambda: secrets.token_hex(32).upper(), repr=False)
    callback_urls: set[str] = field(default_factory=lambda: {"http://localhost:1717/OauthRedirect"})
    scopes: frozenset[str] = frozenset({"api", "id", "refresh_token", "offline_access"})
    preauthorized: set[str] = field(default_factory=set)
    run_as: str | None = "broker@example.com"
    requires_pkce: bool = True
    requires_secret: bool = True
    rotates_refresh_tokens: bool = False

    def authenticate(self, form: Mapping[str, str], authorization: str | None, url: str) -> None:
        """Pass a client that proves to be this app, or raise `OAuthError`."""
        client, secret = _basic(authorization) or (form.get("client_id", ""), form.get("client_secret"))
        if "client_assertion" in form:
            self._check_assertion(form, url)
            return
        if client != self.consumer_key:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if secret is None and not self.requires_secret:
            return
        if not hmac.compare_digest((secret or "").encode(), self.consumer_secret.encode()):
            raise OAuthError("invalid_client", "invalid client credentials")

    def sign(self, identity: str, issued_at: str) -> str:
        """Return the `signature` of an answer: base64 of HMAC-SHA256 over `id` and `issued_at` with the secret."""
        mac = hmac.digest(self.consumer_secret.encode(), (identity + issued_at).encode(), hashlib.sha256)
        return base64.b64encode(mac).decode()

    def _check_assertion(self, form: Mapping[str, str], url: str) -> None:
        refused = OAuthError("invalid_client", "invalid client assertion")
        if form.get("client_assertion_type") != CLIENT_ASSERTION:
            raise refused
        try:
            claims: dict[str, Any] = decode(form["client_assertion"], self.public_key, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            raise refused from None
        audiences = (url, f"{url}/services/oauth2/token", "https://login.salesforce.com")
        remaining = claims["exp"] - time.time() if isinstance(claims.get("exp"), int | float) else 0
        named = claims.get("iss") == claims.get("sub") == self.consumer_key
        if not named or claims.get("aud") not in audiences or not 0 < remaining <= LONGEST_ASSERTION_SECONDS:
            raise refused


def _basic(authorization: str | None) -> tuple[str, str] | None:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(client), unquote_plus(secret)  # RFC 6749 §2.3.1
