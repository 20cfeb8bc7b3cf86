"""Token endpoints: every grant's access tokens, asked for, renewed and revoked.

Authlib writes the wire formats; every request leaves by egress. What becomes of a token is the vault's.
"""

from broker.oauth.answers import Token
from broker.oauth.authorization import AuthorizationRequest, authorize, check_issuer, redeem
from broker.oauth.clients import ClientMethod, OAuthClient
from broker.oauth.grants import (
    KINDS,
    ApiKeyGrant,
    AuthorizationCodeGrant,
    BasicGrant,
    ClientCredentialsGrant,
    Grant,
    IdJagGrant,
    JwtBearerGrant,
    TokenExchangeGrant,
)
from broker.oauth.issuing import issue, issue_by_assertion, revoke
from broker.oauth.keys import check_private_key
from broker.oauth.server import AuthorizationServer
from broker.oauth.sign_in import SignedIn, read_id_token

__all__ = [
    "KINDS",
    "ApiKeyGrant",
    "AuthorizationCodeGrant",
    "AuthorizationRequest",
    "AuthorizationServer",
    "BasicGrant",
    "ClientCredentialsGrant",
    "ClientMethod",
    "Grant",
    "IdJagGrant",
    "JwtBearerGrant",
    "OAuthClient",
    "SignedIn",
    "Token",
    "TokenExchangeGrant",
    "authorize",
    "check_issuer",
    "check_private_key",
    "issue",
    "issue_by_assertion",
    "read_id_token",
    "redeem",
    "revoke",
]
