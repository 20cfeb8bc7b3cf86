"""The authorization code flow (RFC 6749 §4.1): where a browser is sent, and what its way back is good for."""

import base64
import hmac
import secrets
from dataclasses import dataclass

from authlib.integrations.httpx_client import AsyncOAuth2Client

from broker.egress import Client, Secret
from broker.errors import ConsentRefused, GrantMisplaced
from broker.oauth.answers import Token, answer, token
from broker.oauth.clients import OAuthClient
from broker.oauth.server import AuthorizationServer

_VERIFIER_BYTES = 48  # 64 characters, RFC 7636 §4.1


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One browser's way to a consent and back. `state` and `verifier` are known to us alone until it is back."""

    url: str
    state: str
    redirect_uri: str
    verifier: Secret
    nonce: str | None = None


def authorize(
    server: AuthorizationServer, app: OAuthClient, redirect_uri: str, scopes: tuple[str, ...], **more: str
) -> AuthorizationRequest:
    """Make a request for consent, with PKCE (RFC 7636 S256), a state and, where `more` holds one, a nonce."""
    if server.authorization_endpoint is None:
        raise GrantMisplaced(
            "The connector knows no authorization endpoint: name it under 'oauth' in its document.",
            detail="oauth.authorization_endpoint is missing",
        )
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(_VERIFIER_BYTES)
    builder = AsyncOAuth2Client(
        app.client_id,
        code_challenge_method="S256",
        redirect_uri=redirect_uri,
        scope=" ".join(scopes) or None,
        trust_env=False,
    )
    wanted = more if server.resource is None else {**more, "resource": server.resource}  # RFC 8707 §2.1
    url, _ = builder.create_authorization_url(
        server.authorization_endpoint, state=state, code_verifier=verifier, **wanted
    )
    return AuthorizationRequest(url, state, redirect_uri, Secret(verifier), more.get("nonce"))


def check_issuer(server: AuthorizationServer, issuer: str | None) -> None:
    """Raise `ConsentRefused` unless the answer came from this authorization server (RFC 9207 §2.4)."""
    if issuer is None and not server.says_issuer:
        return
    if issuer is None or issuer != server.issuer:
        raise ConsentRefused(
            "The answer came from another authorization server than the one that was asked, as far as can be told. "
            "If it is the right one, 'oauth.issuer' in the connector's document must be what it calls itself.",
            detail="the 'iss' of the answer is missing, or another than oauth.issuer (RFC 9207)",
        )


async def redeem(
    client: Client, server: AuthorizationServer, app: OAuthClient, request: AuthorizationRequest, code: Secret
) -> tuple[Token, dict[str, object]]:
    """Exchange the code for tokens (RFC 6749 §4.1.3); returns the whole answer too, for an ID token in it."""
    resource = {} if server.resource is None else {"resource": server.resource}
    async with app.endpoint(client, server.client_audience) as endpoint:
        answered = await answer(
            endpoint.fetch_token(
                server.token_endpoint,
                grant_type="authorization_code",
                code=code.reveal(),
                redirect_uri=request.redirect_uri,
                code_verifier=request.verifier.reveal(),
                **resource,
            )
        )
    _check_signature(answered, app)
    return token(answered), answered


def _check_signature(answered: dict[str, object], app: OAuthClient) -> None:
    """Salesforce signs `id` and `issued_at` with the client's secret, so that nobody in between has another user."""
    signature, identity, issued = (answered.get(name) for name in ("signature", "id", "issued_at"))
    if not (signature and identity and issued and app.secret) or not app.method.startswith("client_secret"):
        return
    digest = hmac.digest(app.secret.reveal().encode(), f"{identity}{issued}".encode(), "sha256")
    if not hmac.compare_digest(base64.b64encode(digest), str(signature).encode()):
        raise ConsentRefused(
            "The service's answer is not signed as it should be.", detail="signature of id and issued_at"
        )
