"""The JWT bearer flow: what an assertion must say to open a session.

Source: Salesforce Help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration". An assertion's `aud` may be the
login host that every client hard-codes, or this service's own URL; an assertion may be used again until it expires.
"""

import time
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jws import extract_compact
from joserfc.jwt import decode
from msgspec import DecodeError
from msgspec.json import decode as read_json

from broker.testing.salesforce.external_app import LONGEST_ASSERTION_SECONDS, ExternalApp, OAuthError
from broker.testing.salesforce.users import BY_USERNAME, Person

LOGIN_URL: Final = "https://login.salesforce.com"


def asserted(assertion: str, app: ExternalApp, url: str, approved: str) -> Person:
    """Return whom an assertion names, who must be the one approved user; raise `OAuthError` for any other."""
    if _unverified_issuer(assertion) != app.consumer_key:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    try:
        claims = decode(assertion, app.public_key, algorithms=["RS256"]).claims
    except (JoseError, ValueError):
        raise _invalid_assertion() from None

    if claims.get("aud") not in (LOGIN_URL, url):
        raise OAuthError("invalid_grant", "audience is invalid")
    remaining = _seconds(claims.get("exp")) - time.time()
    if remaining <= 0:
        raise OAuthError("invalid_grant", "expired authorization code")
    if remaining > LONGEST_ASSERTION_SECONDS:
        raise _invalid_assertion()
    if claims.get("sub") != approved and claims.get("sub") not in app.preauthorized:
        raise OAuthError("invalid_grant", "user hasn't approved this consumer")
    return BY_USERNAME[claims["sub"]]


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
