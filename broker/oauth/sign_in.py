"""Who signed in: an ID token as it comes from the token endpoint of an identity provider, checked."""

import base64
import binascii
import json
import time
from dataclasses import dataclass

from broker.errors import ConsentRefused

_LEEWAY = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person, as an identity provider names them: `issuer` and `subject` together are who."""

    issuer: str
    subject: str


def read_id_token(answered: dict[str, object], issuer: str, client_id: str, nonce: str | None) -> SignedIn:
    """Return who signed in; raise `ConsentRefused` if the ID token is missing, for another, old or of another sign-in.

    OpenID Connect Core §3.1.3.7: it came straight from the issuer's token endpoint over TLS, which stands in for
    checking its signature.
    """
    claims = _claims(answered.get("id_token"))
    audience, expires = claims.get("aud"), claims.get("exp")
    audiences = audience if isinstance(audience, list) else [audience]
    right = (
        claims.get("iss") == issuer
        and audiences == [client_id]
        and isinstance(expires, int | float)
        and expires > time.time() - _LEEWAY
        and nonce is not None
        and claims.get("nonce") == nonce
    )
    subject = claims.get("sub")
    if not right or not isinstance(subject, str) or not subject:
        raise ConsentRefused("Who signed in cannot be told.", detail="the ID token is missing, or not of this sign-in")
    return SignedIn(issuer, subject)


def _claims(text: object) -> dict[str, object]:
    try:
        payload = str(text).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
