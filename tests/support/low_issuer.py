"""Issuers of JWTs, honest or not: any header and payload, as values or as text, signed with any key."""

import base64
import json
import time
import warnings
from functools import cache
from typing import Any

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

AUDIENCE = "https://broker.example/mcp"
WORKLOAD = "spiffe://prod.example.org/agent/analyst"
DOMAIN = "prod.example.org"
NOW = int(time.time())
"""The moment at which all tokens are issued: however long the tests take, none is older than it says."""

Key = ECKey | RSAKey | OKPKey | OctKey


def key(kind: str, name: str = "1") -> Key:
    """Return a key, the same for the same words: `P-256`, `RSA`, `RSA-1024`, `Ed25519`, …."""
    return _keys(kind, name)


@cache
def _keys(kind: str, _name: str) -> Key:
    if kind.startswith("RSA"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the weak ones, which are what some tests are about
            return RSAKey.generate_key(int(kind[4:] or 2048))
    return OKPKey.generate_key("Ed25519") if kind == "Ed25519" else ECKey.generate_key(kind)


def entry(kind: str, name: str = "1", **changes: Any) -> dict[str, Any]:
    """Return a bundle's entry for a key; a member given as None is left out."""
    members = {**key(kind, name).as_dict(private=False), "kid": f"{kind}/{name}", "use": "jwt-svid", **changes}
    return {member: value for member, value in members.items() if value is not None}


def bundle(*entries: Any, **members: Any) -> bytes:
    """Return a trust bundle's text."""
    return json.dumps({"keys": list(entries), **members}).encode()


def encode(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def header(kind: str = "P-256", name: str = "1", **changes: Any) -> dict[str, Any]:
    """Return a token's header as SPIRE writes it; a member given as None is left out, as "null" is null."""
    algorithms = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
    members = {"alg": algorithms.get(kind, "RS256"), "kid": f"{kind}/{name}", "typ": "JWT", **changes}
    return _present(members)


def claims(**changes: Any) -> dict[str, Any]:
    """Return a token's claims, good for five minutes; a claim given as None is left out, as "null" is null."""
    return _present({"sub": WORKLOAD, "aud": [AUDIENCE], "iat": NOW, "exp": NOW + 300, **changes})


def token(head: Any = None, payload: Any = None, *, signer: Key | None = None, algorithm: str = "") -> str:
    """Return a compact JWS; text and bytes stand in it as they are."""
    head = header() if head is None else head
    payload = claims() if payload is None else payload
    text = f"{encode(_text(head))}.{encode(_text(payload))}"
    model = JWSRegistry.algorithms[algorithm or (head.get("alg") if isinstance(head, dict) else None) or "ES256"]
    return f"{text}.{encode(model.sign(text.encode(), signer or key('P-256')))}"


def _text(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value == "null" else value for name, value in members.items() if value is not None}
