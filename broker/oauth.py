"""Token endpoints: get and revoke access tokens. Authlib writes the wire formats; every request leaves by egress."""

import re
import time
import warnings
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncAssertionClient, AsyncOAuth2Client
from joserfc.errors import SecurityWarning
from joserfc.jwk import RSAKey

from broker.egress import Client, Secret, origin
from broker.egress.httpx2_adapter import EgressTransport
from broker.errors import (
    EgressDenied,
    GrantMisplaced,
    ReauthorizationNeeded,
    Refusal,
    UpstreamFailed,
    UpstreamMalformed,
    VaultUnreadable,
)

_ASSERTION_SECONDS = 170  # Salesforce takes at most three minutes
_RSA_BITS = 2048  # RFC 7518 §3.3
# What can be written into a header, is too long to be guessed, and long enough to be found where it must not be
_ACCESS_TOKEN = re.compile(r"[\x21-\x7e]{16,16384}")
_LONGEST_LIFETIME = 2**31  # seconds; what claims more says nothing
_SCOPE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{0,4096}")  # RFC 6749 §3.3

# What ends a grant, and what only an administrator of the app can mend (RFC 6749 §5.2)
_GRANT_IS_DEAD = frozenset({"invalid_grant", "invalid_app_access"})
_APP_IS_WRONG = frozenset(
    {"invalid_client", "invalid_client_id", "unauthorized_client", "invalid_scope", "unsupported_grant_type"}
)


@dataclass(frozen=True, slots=True)
class JwtBearerGrant:
    """The right to get tokens by a signed assertion (RFC 7523 §2.1): who signs, for whom, with which key (PEM)."""

    client_id: str
    subject: str
    private_key: Secret


@dataclass(frozen=True, slots=True)
class Token:
    """An access token as issued. `expires_at` (seconds since the epoch) is None where the service does not say."""

    access: Secret
    instance_url: str | None
    scopes: tuple[str, ...]
    issued_at: float
    expires_at: float | None


def check_private_key(pem: Secret) -> None:
    """Return if the PEM text holds an RSA private key that can sign; raise `ValueError` otherwise."""
    _signing_key(pem)


async def issue_by_assertion(client: Client, token_endpoint: str, audience: str, grant: JwtBearerGrant) -> Token:
    """Get an access token for a JWT bearer grant.

    Raises `ReauthorizationNeeded` if the service no longer honours the grant, `GrantMisplaced` if the app is set up
    otherwise than the connector is, and `Upstream` errors if the service cannot be asked.
    """
    try:
        key = _signing_key(grant.private_key)
    except ValueError:
        raise VaultUnreadable(detail="the grant's private key cannot be read") from None
    async with AsyncAssertionClient(
        token_endpoint,
        issuer=grant.client_id,
        subject=grant.subject,
        audience=audience,
        header={"alg": "RS256"},
        key=key,
        expires_in=_ASSERTION_SECONDS,
        transport=EgressTransport(client),
        trust_env=False,
    ) as endpoint:
        return _token(await _answer(endpoint.refresh_token()))


async def revoke(client: Client, revocation_endpoint: str, client_id: str, token: Secret) -> None:
    """Revoke an access token at the service (RFC 7009 §2.1); one that is dead already counts as revoked."""
    async with AsyncOAuth2Client(
        client_id,
        token_endpoint_auth_method="none",  # noqa: S106 - the name of a method
        transport=EgressTransport(client),
        trust_env=False,
    ) as endpoint:
        answer = await endpoint.revoke_token(revocation_endpoint, token=token.reveal(), token_type_hint="access_token")  # noqa: S106
        if answer.status_code != httpx2.codes.OK and not _says_invalid_token(answer):
            raise UpstreamFailed(detail=f"revocation endpoint: HTTP {answer.status_code}")


def _signing_key(pem: Secret) -> RSAKey:
    key: RSAKey | None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of small keys, which are refused below
            key = RSAKey.import_key(pem.reveal())
    except Exception:  # noqa: BLE001 - parsers of keys raise many things, and their words may quote the key
        key = None
    if key is None or key.private_key is None or key.private_key.key_size < _RSA_BITS:
        raise ValueError(
            f"an RSA private key of {_RSA_BITS} bits or more in PEM form, without a passphrase, is expected"
        )
    return key


async def _answer(request: Awaitable[Any]) -> dict[str, object]:
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


def _refusal(error: str) -> Refusal:
    """Name only errors that a standard or the service's documentation names; the description is the service's text."""
    if error in _GRANT_IS_DEAD:
        return ReauthorizationNeeded(detail=f"token endpoint: {error}")
    if error in _APP_IS_WRONG:
        return GrantMisplaced(
            "The connected app is not set up as the service expects; an administrator must look at the grant.",
            detail=f"token endpoint: {error}",
        )
    return UpstreamFailed(detail="token endpoint: an error that is not listed")


def _says_invalid_token(answer: httpx2.Response) -> bool:
    try:
        return bool(answer.json()["error"] == "invalid_token")
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _token(answer: dict[str, object]) -> Token:
    access, instance, scope, lifetime = (
        answer.get(name) for name in ("access_token", "instance_url", "scope", "expires_in")
    )
    if not isinstance(access, str) or not _ACCESS_TOKEN.fullmatch(access):
        raise UpstreamMalformed(detail="the token endpoint's answer holds no access token that could be used")
    if str(answer.get("token_type", "")).lower() != "bearer":
        raise UpstreamMalformed(detail="the token is not a bearer token")
    if scope is not None and not (isinstance(scope, str) and _SCOPE.fullmatch(scope)):
        raise UpstreamMalformed(detail="the token's scope is not a list of scopes")
    now = time.time()
    return Token(
        Secret(access),
        None if instance is None else _instance(instance),
        tuple(sorted(scope.split())) if scope else (),
        now,
        now + lifetime if isinstance(lifetime, int | float) and 0 < lifetime < _LONGEST_LIFETIME else None,
    )


def _instance(url: object) -> str:
    try:
        return origin(str(url))
    except EgressDenied:
        raise GrantMisplaced(detail="the token is for a place that is no plain https URL") from None
