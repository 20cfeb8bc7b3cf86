"""The kinds of grants: what each of them needs to get a token, and nothing of how it is kept."""

from dataclasses import dataclass, field

from broker.egress import Secret
from broker.oauth.clients import OAuthClient

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693 §3
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"


@dataclass(frozen=True, slots=True)
class JwtBearerGrant:
    """The right to get tokens by a signed assertion (RFC 7523 §2.1): who signs, for whom, with which key (PEM)."""

    client_id: str
    subject: str
    private_key: Secret


@dataclass(frozen=True, slots=True)
class ClientCredentialsGrant:
    """The right of a client to get tokens for itself (RFC 6749 §4.4)."""

    client: OAuthClient


@dataclass(frozen=True, slots=True)
class AuthorizationCodeGrant:
    """What somebody has consented to (RFC 6749 §4.1): a refresh token, or an access token where there is none."""

    client: OAuthClient
    refresh_token: Secret | None
    access_token: Secret | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class TokenExchangeGrant:
    """The right to exchange a token for one of the service (RFC 8693); `actor` is the broker's own JWT-SVID."""

    client: OAuthClient
    subject_token: Secret
    subject_token_type: str = ACCESS_TOKEN_TYPE
    actor: Secret | None = None


@dataclass(frozen=True, slots=True)
class IdJagGrant:
    """The right to have an identity provider vouch for somebody at the service (ID-JAG, cross-app access)."""

    client: OAuthClient
    identity_client: OAuthClient
    subject_token: Secret
    subject_token_type: str


@dataclass(frozen=True, slots=True)
class ApiKeyGrant:
    """A key that stands in a header of its own or in `Authorization`, as it is."""

    key: Secret


@dataclass(frozen=True, slots=True)
class BasicGrant:
    """A user's name and password (RFC 7617)."""

    username: str
    password: Secret = field(repr=False)


Grant = (
    JwtBearerGrant
    | ClientCredentialsGrant
    | AuthorizationCodeGrant
    | TokenExchangeGrant
    | IdJagGrant
    | ApiKeyGrant
    | BasicGrant
)

KINDS: dict[str, type[Grant]] = {
    "jwt-bearer": JwtBearerGrant,
    "client-credentials": ClientCredentialsGrant,
    "authorization-code": AuthorizationCodeGrant,
    "token-exchange": TokenExchangeGrant,
    "id-jag": IdJagGrant,
    "api-key": ApiKeyGrant,
    "basic": BasicGrant,
}
"""The kinds by their names in documents, records and commands."""
