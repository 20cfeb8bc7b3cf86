"""JSON Web Tokens as every verifier here takes them: a strict layer of our own, then the signature by joserfc.

Nothing is read from a token in two ways: one compact form, canonical base64url, no member twice, no header member that
is not expected, numbers that are numbers. What it says counts only once its signature has been checked.
"""

import base64
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError

from broker.errors import (
    ProofExpired,
    ProofForAnotherAudience,
    ProofLivesTooLong,
    ProofMalformed,
    ProofNotYetValid,
    ProofUntrusted,
)
from broker.identity.bundle import BundleKey, TrustBundle, unique_keys

LONGEST_TOKEN = 8192  # bytes; SPIRE's are about 700, an identity provider's seldom above 4000
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")  # JWT-SVID §2.1
# Tuples: anything may stand in a header, and not everything can be looked up in a set
CLOCK_SKEW = 30.0  # seconds by which an issuer's clock may be ahead; an expired token gets none
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_LATEST = 2**53  # seconds: far beyond any date, and exact as a float; NaN and infinity are not below it


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says, before anybody has vouched for it."""

    token: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def read_token(token: str) -> Unverified:
    """Read a token's form: three canonical base64url parts, two of them JSON objects; raise `ProofMalformed`."""
    if len(token) > LONGEST_TOKEN:
        raise ProofMalformed(detail=f"the token is longer than {LONGEST_TOKEN} characters")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise ProofMalformed(detail="not three parts of base64url")
    header, claims, _ = _json_object(parts[1]), _json_object(parts[2]), _bytes(parts[3])
    return Unverified(token, header, claims)


def check_header(header: Mapping[str, Any], members: Collection[str]) -> None:
    """Return if the header has a known algorithm and no member but these; raise `ProofMalformed`."""
    if header.keys() - set(members):
        raise ProofMalformed(detail=f"header {sorted(header)[:8]} with a member that is not allowed")
    if header.get("alg") not in ALGORITHMS:
        raise ProofMalformed(detail="alg is not one that is taken")


def check_signature(unverified: Unverified, bundle: TrustBundle) -> BundleKey:
    """Return the key of the bundle that made the signature; raise `ProofUntrusted`."""
    signer = _choose_key(bundle, unverified.header)
    try:
        jws.deserialize_compact(unverified.token, signer.key, algorithms=[unverified.header["alg"]])
    except (JoseError, ValueError):
        raise ProofUntrusted(detail=f"the signature by key {signer.key_id} does not verify") from None
    return signer


def check_audience(claims: Mapping[str, Any], wanted: str) -> None:
    """Return if the token is meant for `wanted`; raise `ProofForAnotherAudience`."""
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or wanted not in named:
        raise ProofForAnotherAudience(f"The token's audience must be {wanted!r}.")


def check_times(claims: Mapping[str, Any], now: float, longest: float) -> float:
    """Return when the token expires, if it is valid now and lives no longer than `longest` seconds; raise otherwise."""
    expires_at = _seconds(claims, "exp")
    if expires_at is None:
        raise ProofMalformed(detail="no exp")
    if expires_at <= now:
        raise ProofExpired
    not_before, issued_at = _seconds(claims, "nbf"), _seconds(claims, "iat")
    for since in (not_before, issued_at):
        if since is not None and since > now + CLOCK_SKEW:
            raise ProofNotYetValid(detail=f"nbf or iat is {since - now:.0f} s ahead")
    if expires_at - min(now, now if issued_at is None else issued_at) > longest + CLOCK_SKEW:
        raise ProofLivesTooLong(f"The token may live for {longest:.0f} seconds at most.")
    return expires_at


def text_claim(claims: Mapping[str, Any], name: str) -> str | None:
    """Return a claim that may be put on record as text: short and printable; None if it is not."""
    value = claims.get(name)
    return value[:256] if isinstance(value, str) and value.isprintable() else None


def _choose_key(bundle: TrustBundle, header: Mapping[str, Any]) -> BundleKey:
    """Choose the key by `kid`; without one, only if exactly one key fits the algorithm (JWT-SVID §3 leaves it open)."""
    fitting = [key for key in bundle.keys.values() if header["alg"] in key.algorithms]
    if "kid" in header:
        fitting = [key for key in fitting if key.key_id == header["kid"]]
    if len(fitting) != 1:
        raise ProofUntrusted(detail=f"no key of {bundle.trust_domain} fits the token's kid and algorithm")
    return fitting[0]


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LATEST < value < _LATEST:
        raise ProofMalformed(detail=f"{name} is not a number of seconds")
    return float(value)


def _json_object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_bytes(part).decode(), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError):
        raise ProofMalformed(detail="a part that is not JSON, or says one thing twice") from None
    if not isinstance(value, dict):
        raise ProofMalformed(detail="a part that is not a JSON object")
    return value


def _bytes(part: str) -> bytes:
    """Decode base64url; refuse any spelling but the one, such as bits at the end that count for nothing."""
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raw = b""
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise ProofMalformed(detail="base64url that is not canonical")
    return raw
