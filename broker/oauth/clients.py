"""How the broker proves at a token endpoint which client it is."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Literal

from authlib.common.urls import add_params_to_qs
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT

from broker.egress import Client, Secret
from broker.egress.httpx2_adapter import EgressTransport
from broker.errors import GrantMisplaced, VaultUnreadable
from broker.oauth.keys import signing_key

ClientMethod = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt", "jwt_spiffe"]
_JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"  # draft-ietf-oauth-spiffe-client-auth
_ASSERTION_SECONDS = 170


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A client as registered at an authorization server.

    `secret` is a client secret, a private key (PEM) for `private_key_jwt`, the broker's own JWT-SVID for `jwt_spiffe`,
    and None for a public client.
    """

    client_id: str
    method: ClientMethod = "none"
    secret: Secret | None = None

    def endpoint(self, client: Client, audience: str) -> Any:
        """Return Authlib's client for one exchange at a token endpoint; `audience` is that of a signed proof."""
        secret: Any = self.secret.reveal() if self.secret is not None else None
        if self.method == "private_key_jwt":
            secret = _key(self.secret)
        endpoint = AsyncOAuth2Client(
            self.client_id or None,
            secret,
            token_endpoint_auth_method=self.method,
            revocation_endpoint_auth_method=self.method,
            transport=EgressTransport(client),
            trust_env=False,
        )
        endpoint.register_client_auth_method(
            PrivateKeyJWT(audience, headers={}, claims={}, alg="RS256"),
        )
        endpoint.register_client_auth_method(("jwt_spiffe", _SpiffeProof(audience)))
        return endpoint


class _SpiffeProof:
    """Presents the broker's own JWT-SVID, which must be for this authorization server and for nobody else."""

    def __init__(self, audience: str) -> None:
        self._audience = audience

    def __call__(self, auth: Any, _method: str, uri: str, headers: Any, body: str) -> tuple[str, Any, str]:
        """Add the assertion to a request."""
        svid = auth.client_secret or ""
        if _audiences(svid) != [self._audience]:
            raise GrantMisplaced(
                "The broker's own JWT-SVID is not for this service's authorization server.",
                detail=f"client_svid must have the one audience {self._audience}",
            )
        proof = [("client_assertion_type", _JWT_SPIFFE), ("client_assertion", svid)]
        if auth.client_id:
            proof.append(("client_id", auth.client_id))
        return uri, headers, add_params_to_qs(body or "", proof)


def _audiences(token: str) -> list[Any]:
    """Return whom a JWT is for, unverified: it is our own, and who receives it verifies it."""
    try:
        payload = token.split(".")[1]
        audience = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["aud"]
    except (IndexError, ValueError, KeyError, TypeError, binascii.Error):
        return []
    return audience if isinstance(audience, list) else [audience]


def _key(pem: Secret | None) -> Any:
    try:
        return signing_key(pem or Secret(""))
    except ValueError:
        raise VaultUnreadable(detail="the client's private key cannot be read") from None
