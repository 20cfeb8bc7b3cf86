"""What token endpoints answer, and what their refusals mean: in our words, without the service's own."""

import re
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import httpx2
from authlib.integrations.base_client import OAuthError

from broker.egress import Secret, origin
from broker.errors import (
    EgressDenied,
    GrantMisplaced,
    ReauthorizationNeeded,
    Refusal,
    UpstreamFailed,
    UpstreamMalformed,
)

# What can be written into a header, is too long to be guessed, and long enough to be found where it must not be
_ACCESS_TOKEN = re.compile(r"[\x21-\x7e]{16,16384}")
_LONGEST_LIFETIME = 2**31  # seconds; what claims more says nothing
_SCOPE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{0,4096}")  # RFC 6749 §3.3

# What ends a grant, and what only an administrator of the app can mend (RFC 6749 §5.2, RFC 8693 §2.2.2)
_GRANT_IS_DEAD = frozenset({"invalid_grant", "invalid_app_access"})
_APP_IS_WRONG = frozenset(
    {"invalid_client", "invalid_client_id", "unauthorized_client", "invalid_scope", "unsupported_grant_type"}
    | {"invalid_target", "invalid_request"}
)


@dataclass(frozen=True, slots=True)
class Token:
    """An access token as issued. `expires_at` (seconds since the epoch) is None where the service does not say.

    `refresh` is what the service has given to get the next one with; None where it has given nothing.
    """

    access: Secret
    instance_url: str | None
    scopes: tuple[str, ...]
    issued_at: float
    expires_at: float | None
    refresh: Secret | None = None


async def answer(request: Awaitable[Any]) -> dict[str, object]:
    """Wait for a token endpoint's answer; what goes wrong is told in our words, without theirs in its chain."""
    failure: Refusal
    try:
        return dict(await request)
    except OAuthError as error:
        failure = _refusal(str(error.error))
    except httpx2.HTTPStatusError as error:
        failure = UpstreamFailed(detail=f"token endpoint: HTTP {error.response.status_code}")
    except (httpx2.HTTPError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        failure = UpstreamMalformed(detail="the token endpoint's answer is not a token")
    raise failure


def token(answered: dict[str, object]) -> Token:
    """Return the bearer token in an answer; raise `UpstreamMalformed` if there is none that could be used."""
    access, instance, scope, lifetime, refresh = (
        answered.get(name) for name in ("access_token", "instance_url", "scope", "expires_in", "refresh_token")
    )
    if not isinstance(access, str) or not _ACCESS_TOKEN.fullmatch(access):
        raise UpstreamMalformed(detail="the token endpoint's answer holds no access token that could be used")
    if str(answered.get("token_type", "")).lower() != "bearer":
        raise UpstreamMalformed(detail="the token is not a bearer token")
    if scope is not None and not (isinstance(scope, str) and _SCOPE.fullmatch(scope)):
        raise UpstreamMalformed(detail="the token's scope is not a list of scopes")
    if refresh is not None and not (isinstance(refresh, str) and _ACCESS_TOKEN.fullmatch(refresh)):
        raise UpstreamMalformed(detail="the token endpoint's answer holds a refresh token that cannot be used")
    now = time.time()
    return Token(
        Secret(access),
        None if instance is None else _instance(instance),
        tuple(sorted(scope.split())) if scope else (),
        now,
        now + lifetime if isinstance(lifetime, int | float) and 0 < lifetime < _LONGEST_LIFETIME else None,
        None if refresh is None else Secret(refresh),
    )


def exchanged(answered: dict[str, object], kind: str) -> Secret:
    """Return the token of a given kind in an answer (RFC 8693 §2.2.1), which need not be a bearer token."""
    issued = answered.get("access_token")
    if answered.get("issued_token_type") != kind or not isinstance(issued, str) or not _ACCESS_TOKEN.fullmatch(issued):
        raise UpstreamMalformed(detail="the identity provider's answer is not of the kind that was asked for")
    return Secret(issued)


def _refusal(error: str) -> Refusal:
    """Name only errors that a standard or the service's documentation names; the description is the service's text."""
    if error in _GRANT_IS_DEAD:
        return ReauthorizationNeeded(detail=f"token endpoint: {error}")
    if error in _APP_IS_WRONG:
        return GrantMisplaced(
            "The connected app is not set up as the service expects; an administrator must look at the grant.",
            detail=f"token endpoint: {error}",
            oauth=error,
        )
    return UpstreamFailed(detail="token endpoint: an error that is not listed")


def _instance(url: object) -> str:
    try:
        return origin(str(url))
    except EgressDenied:
        raise GrantMisplaced(detail="the token is for a place that is no plain https URL") from None
