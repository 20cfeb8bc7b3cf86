"""Token endpoints: get and revoke access tokens. Authlib writes the wire formats; every request leaves by egress."""

import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncAssertionClient, AsyncOAuth2Client
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from broker.egress import Client, Secret
from broker.egress.httpx2_adapter import EgressTransport
from broker.errors import GrantMisplaced, ReauthorizationNeeded, UpstreamFailed, UpstreamMalformed, VaultUnreadable

_ASSERTION_SECONDS = 170  # Salesforce takes at most three minutes

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
    try:
        key = RSAKey.import_key(pem.reveal())
        usable = key.is_private and key.private_key is not None
    except (JoseError, ValueError, TypeError):
        usable = False
    if not usable:
        raise ValueError("an RSA private key in PEM form, without a passphrase, is expected")


async def issue_by_assertion(client: Client, token_endpoint: str, audience: str, grant: JwtBearerGrant) -> Token:
    """Get an access token for a JWT bearer grant.

    Raises `ReauthorizationNeeded` if the service no longer honours the grant, `GrantMisplaced` if the app is set up
    otherwise than the connector is, and `Upstream` errors if the service cannot be asked.
    """
    try:
        key = RSAKey.import_key(grant.private_key.reveal())
    except (JoseError, ValueError):
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
        try:
            answer = await endpoint.refresh_token()
        except OAuthError as error:
            raise _refusal(error.error) from None
        except httpx2.HTTPStatusError as error:
            raise UpstreamFailed(detail=f"token endpoint: HTTP {error.response.status_code}") from None
        except (httpx2.HTTPError, ValueError, TypeError, AttributeError):
            raise UpstreamMalformed(detail="the token endpoint's answer is not a token") from None
    return _token(dict(answer))


async def revoke(client: Client, revocation_endpoint: str, token: Secret) -> None:
    """Revoke an access token at the service (RFC 7009)."""
    async with AsyncOAuth2Client(
        token_endpoint_auth_method="none",  # noqa: S106 - the name of a method
        transport=EgressTransport(client),
        trust_env=False,
    ) as endpoint:
        answer = await endpoint.revoke_token(revocation_endpoint, token=token.reveal(), token_type_hint="access_token")  # noqa: S106
        if answer.status_code != httpx2.codes.OK:
            raise UpstreamFailed(detail=f"revocation endpoint: HTTP {answer.status_code}")


def _refusal(error: str | None) -> Exception:
    """Name only errors that a standard or the service's documentation names; the description is the service's text."""
    if error in _GRANT_IS_DEAD:
        return ReauthorizationNeeded(detail=f"token endpoint: {error}")
    if error in _APP_IS_WRONG:
        return GrantMisplaced(
            "The connected app is not set up as the service expects; an administrator must look at the grant.",
            detail=f"token endpoint: {error}",
        )
    return UpstreamFailed(detail="token endpoint: an error that is not listed")


def _token(answer: dict[str, object]) -> Token:
    access, instance, scope, lifetime = (
        answer.get(name) for name in ("access_token", "instance_url", "scope", "expires_in")
    )
    if not isinstance(access, str) or not access or not access.isascii() or not access.isprintable():
        raise UpstreamMalformed(detail="the token endpoint's answer holds no access token")
    if str(answer.get("token_type", "")).lower() != "bearer":
        raise UpstreamMalformed(detail="the token is not a bearer token")
    now = time.time()
    seconds = lifetime if isinstance(lifetime, int | float) and not isinstance(lifetime, bool) else None
    return Token(
        Secret(access),
        _origin(instance) if isinstance(instance, str) else None,
        tuple(sorted(scope.split())) if isinstance(scope, str) else (),
        now,
        None if seconds is None else now + seconds,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}"
