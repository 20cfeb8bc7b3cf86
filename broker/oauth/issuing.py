"""Getting and revoking access tokens: one function for each kind of grant, and one that knows them all."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
from authlib.integrations.httpx_client import AsyncAssertionClient

from broker.egress import Client, Secret
from broker.egress.httpx2_adapter import EgressTransport
from broker.errors import GrantMisplaced, ReauthorizationNeeded, UpstreamFailed, VaultUnreadable
from broker.oauth.answers import Token, answer, exchanged, token
from broker.oauth.clients import OAuthClient
from broker.oauth.grants import (
    ACCESS_TOKEN_TYPE,
    JWT_TYPE,
    ApiKeyGrant,
    AuthorizationCodeGrant,
    BasicGrant,
    ClientCredentialsGrant,
    Grant,
    IdJagGrant,
    JwtBearerGrant,
    TokenExchangeGrant,
)
from broker.oauth.keys import signing_key
from broker.oauth.server import AuthorizationServer

_ASSERTION_SECONDS = 170  # Salesforce takes at most three minutes
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693 §2.1
Fields = Mapping[str, Secret | str | None]
_ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"


async def issue(client: Client, server: AuthorizationServer, grant: Grant, scopes: Sequence[str] = ()) -> Token:
    """Get an access token for a grant, with these scopes where the kind of grant can ask for some.

    Raises `ReauthorizationNeeded` if the service no longer honours the grant, `GrantMisplaced` if the app is set up
    otherwise than the connector is, and `Upstream` errors if the service cannot be asked.
    """
    wanted = {"scope": " ".join(scopes)} if scopes else {}
    match grant:
        case JwtBearerGrant():
            return await issue_by_assertion(client, server.token_endpoint, server.audience, grant, wanted)
        case ClientCredentialsGrant():
            return await _ask(client, server, grant.client, "client_credentials", {**wanted, **_resource(server)})
        case AuthorizationCodeGrant(refresh_token=None):
            return _as_given(grant)
        case AuthorizationCodeGrant(refresh_token=refresh_token):
            fields: Fields = {"refresh_token": refresh_token, **wanted, **_resource(server)}
            return await _ask(client, server, grant.client, "refresh_token", fields)
        case TokenExchangeGrant():
            return await _exchange(client, server, grant, wanted)
        case IdJagGrant():
            return await _by_id_jag(client, server, grant, wanted)
        case ApiKeyGrant() | BasicGrant():
            raise GrantMisplaced(detail="a key or password is used as it is; no token is issued for it")


async def issue_by_assertion(
    client: Client, token_endpoint: str, audience: str, grant: JwtBearerGrant, wanted: dict[str, str] | None = None
) -> Token:
    """Get an access token for a JWT bearer grant; raises as `issue` does."""
    try:
        key = signing_key(grant.private_key)
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
        **(wanted or {}),
    ) as endpoint:
        return token(await answer(endpoint.refresh_token()))


async def revoke(
    client: Client, server: AuthorizationServer, app: OAuthClient, secret: Secret, hint: str = "access_token"
) -> None:
    """Revoke a token at the service (RFC 7009 §2.1); one that is dead already counts as revoked."""
    async with app.endpoint(client, server.client_audience) as endpoint:
        answered = await endpoint.revoke_token(server.revocation_endpoint, token=secret.reveal(), token_type_hint=hint)
        if answered.status_code != httpx2.codes.OK and not _says_invalid_token(answered):
            raise UpstreamFailed(detail=f"revocation endpoint: HTTP {answered.status_code}")


async def _ask(client: Client, server: AuthorizationServer, app: OAuthClient, kind: str, fields: Fields) -> Token:
    return token(await _answered(client, (server.token_endpoint, server.client_audience), app, kind, fields))


async def _answered(
    client: Client, place: tuple[str, str], app: OAuthClient, grant_type: str, fields: Fields
) -> dict[str, object]:
    """Ask a token endpoint (its URL, and the audience of what a client signs for it); what is None is left out."""
    url, audience = place
    plain: dict[str, Any] = {
        name: value.reveal() if isinstance(value, Secret) else value for name, value in fields.items() if value
    }
    async with app.endpoint(client, audience) as endpoint:
        return await answer(endpoint.fetch_token(url, grant_type=grant_type, **plain))


async def _exchange(
    client: Client, server: AuthorizationServer, grant: TokenExchangeGrant, wanted: dict[str, str]
) -> Token:
    """RFC 8693 §2.1: the subject is whoever the token is of, the actor is us."""
    fields: Fields = {
        "subject_token": grant.subject_token,
        "subject_token_type": grant.subject_token_type,
        "requested_token_type": ACCESS_TOKEN_TYPE,
        "actor_token": grant.actor,
        "actor_token_type": None if grant.actor is None else JWT_TYPE,
        **wanted,
        **_resource(server),
    }
    return await _ask(client, server, grant.client, _TOKEN_EXCHANGE, fields)


async def _by_id_jag(client: Client, server: AuthorizationServer, grant: IdJagGrant, wanted: dict[str, str]) -> Token:
    """Exchange the identity for an assertion at its provider, then the assertion for a token at the service."""
    provider = server.identity_provider
    if provider is None or server.issuer is None:
        raise GrantMisplaced(
            detail="an ID-JAG needs oauth.identity_provider and oauth.issuer in the Connector document"
        )
    identity: Fields = {
        "subject_token": grant.subject_token,
        "subject_token_type": grant.subject_token_type,
        "requested_token_type": _ID_JAG,
        "audience": server.issuer,
        **wanted,
        **_resource(server),
    }
    answered = await _answered(client, (provider, provider), grant.identity_client, _TOKEN_EXCHANGE, identity)
    fields: Fields = {"assertion": exchanged(answered, _ID_JAG), **wanted}
    return await _ask(client, server, grant.client, _JWT_BEARER, fields)


def _resource(server: AuthorizationServer) -> dict[str, str | None]:
    return {"resource": server.resource}


def _as_given(grant: AuthorizationCodeGrant) -> Token:
    """Return the access token that came with the consent, while it lives: there is nothing to get another with."""
    if grant.access_token is None or (grant.expires_at is not None and grant.expires_at <= time.time()):
        raise ReauthorizationNeeded(detail="the access token has expired, and the service gave no refresh token")
    return Token(grant.access_token, None, (), time.time(), grant.expires_at)


def _says_invalid_token(answered: httpx2.Response) -> bool:
    try:
        return bool(answered.json()["error"] == "invalid_token")
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
