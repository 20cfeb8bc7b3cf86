"""JWT-SVIDs (SPIFFE JWT-SVID standard): a strict layer of our own, then the signature by joserfc."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
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
from broker.identity.registry import TrustDomain
from broker.identity.remembered import Remembered, Verified
from broker.identity.store import TrustStore
from broker.identity.workload import SpiffeId, WorkloadIdentity

LONGEST_TOKEN = 8192  # bytes; SPIRE's are about 700
_CLOCK_SKEW = 30.0  # seconds by which an issuer's clock may be ahead; an expired token gets none
# Tuples: anything may stand in a header, and not everything can be looked up in a set
_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")  # §3
_TYPES = ("JWT", "JOSE")
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_LATEST = 2**53  # seconds: far beyond any date, and exact as a float; NaN and infinity are not below it


class SvidVerifier:
    """Verifies JWT-SVIDs for one audience, remembering those that it has verified."""

    def __init__(self, audience: str, store: TrustStore) -> None:
        self._audience = audience
        self._store = store
        self._remembered = Remembered(store)

    def verify(self, token: str, domains: Mapping[str, TrustDomain], now: float) -> WorkloadIdentity:
        """Return the identity that the token proves at `now` (seconds since the epoch), or raise `Unauthenticated`."""
        if len(token) > LONGEST_TOKEN:
            raise ProofMalformed(detail=f"the token is longer than {LONGEST_TOKEN} characters")
        key = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        remembered = self._remembered.find(key, domains, now)
        return remembered or self._remembered.keep(key, self._verify(token, domains, now, key.hex()))

    def _verify(self, token: str, domains: Mapping[str, TrustDomain], now: float, digest: str) -> Verified:
        # 1. The form: three canonical base64url parts, two of them JSON objects.
        parts = _COMPACT.fullmatch(token)
        if parts is None:
            raise ProofMalformed(detail="not three parts of base64url")
        header, claims, _ = _json_object(parts[1]), _json_object(parts[2]), _bytes(parts[3])

        # 2. The header: a known algorithm and nothing that the standard does not list.
        if header.keys() - {"alg", "kid", "typ"}:
            raise ProofMalformed(detail=f"header {sorted(header)[:8]} with a member that is not allowed")
        if header.get("alg") not in _ALGORITHMS:
            raise ProofMalformed(detail="alg is not one of JWT-SVID's")
        if "typ" in header and header["typ"] not in _TYPES:
            raise ProofMalformed(detail="typ is neither JWT nor JOSE")

        # 3. The subject: a workload of a trust domain that is configured here.
        try:
            subject = SpiffeId.parse(claims["sub"])
        except (KeyError, TypeError, ValueError):
            raise ProofMalformed(detail="sub is not a SPIFFE ID of a workload") from None
        domain = domains.get(subject.trust_domain)
        if domain is None:
            raise ProofUntrusted(detail=f"trust domain {subject.trust_domain} is not configured")

        # 4. The signature, by a key of the subject's own trust domain and no other.
        bundle = self._store.bundle(subject.trust_domain, now)
        signer = _choose_key(bundle, header)
        try:
            jws.deserialize_compact(token, signer.key, algorithms=[header["alg"]])
        except (JoseError, ValueError):
            raise ProofUntrusted(detail=f"the signature by key {signer.key_id} does not verify") from None

        # 5. Audience and times, of which the signature now vouches.
        self._check_audience(claims)
        expires_at = _check_times(claims, now, domain.longest_lifetime)
        token_id = claims.get("jti")
        identity = WorkloadIdentity(
            spiffe_id=str(subject),
            trust_domain=subject.trust_domain,
            method="jwt-svid",
            assurance="development" if domain.development else "attested",
            proof=f"sha256:{digest}",
            key_id=signer.key_id[:256],
            token_id=token_id[:256] if isinstance(token_id, str) and token_id.isprintable() else None,
            expires_at=expires_at,
        )
        return Verified(identity, expires_at, domain, bundle)

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("aud")
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or self._audience not in named:
            raise ProofForAnotherAudience(f"The token's audience must be {self._audience!r}.")


def _choose_key(bundle: TrustBundle, header: Mapping[str, Any]) -> BundleKey:
    """Choose the key by `kid`; without one, only if exactly one key fits the algorithm (JWT-SVID §3 leaves it open)."""
    fitting = [key for key in bundle.keys.values() if header["alg"] in key.algorithms]
    if "kid" in header:
        fitting = [key for key in fitting if key.key_id == header["kid"]]
    if len(fitting) != 1:
        raise ProofUntrusted(detail=f"no key of {bundle.trust_domain} fits the token's kid and algorithm")
    return fitting[0]


def _check_times(claims: Mapping[str, Any], now: float, longest: float) -> float:
    expires_at = _seconds(claims, "exp")
    if expires_at is None:
        raise ProofMalformed(detail="no exp")
    if expires_at <= now:
        raise ProofExpired
    not_before, issued_at = _seconds(claims, "nbf"), _seconds(claims, "iat")
    for since in (not_before, issued_at):
        if since is not None and since > now + _CLOCK_SKEW:
            raise ProofNotYetValid(detail=f"nbf or iat is {since - now:.0f} s ahead")
    if expires_at - min(now, now if issued_at is None else issued_at) > longest + _CLOCK_SKEW:
        raise ProofLivesTooLong(f"The token may live for {longest:.0f} seconds at most.")
    return expires_at


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
