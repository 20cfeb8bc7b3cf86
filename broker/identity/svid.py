"""JWT-SVIDs (SPIFFE JWT-SVID standard): a strict layer of our own, then the signature by joserfc."""

import base64
import hashlib
import json
import math
import re
from collections import OrderedDict
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
from broker.identity.bundle import BundleKey, TrustBundle, TrustStore, unique_keys
from broker.identity.registry import TrustDomain
from broker.identity.workload import Assurance, SpiffeId, WorkloadIdentity

LONGEST_TOKEN = 8192  # bytes; SPIRE's are about 700
_CLOCK_SKEW = 30.0  # seconds by which an issuer's clock may be ahead; an expired token gets none
_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"})  # §3
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_REMEMBERED = 10_000


class SvidVerifier:
    """Verifies JWT-SVIDs for one audience, remembering those that it has verified.

    A remembered token is still checked for its expiry and against the bundle in force: a rotation or revocation takes
    effect at once. Not safe for use from several threads.
    """

    def __init__(self, audience: str, store: TrustStore) -> None:
        self._audience = audience
        self._store = store
        self._verified: OrderedDict[bytes, tuple[WorkloadIdentity, TrustBundle]] = OrderedDict()

    def verify(self, token: str, domains: Mapping[str, TrustDomain], now: float) -> WorkloadIdentity:
        """Return the identity that the token proves at `now` (seconds since the epoch), or raise `Unauthenticated`."""
        key = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        if remembered := self._verified.get(key):
            identity, bundle = remembered
            domain = domains.get(identity.trust_domain)
            if (
                domain is not None
                and identity.assurance == _assurance(domain)
                and self._store.bundle(identity.trust_domain, now) is bundle
            ):
                if identity.expires_at is not None and identity.expires_at <= now:
                    raise ProofExpired
                return identity
            del self._verified[key]
        identity, bundle = self._verify(token, domains, now, key.hex())
        self._verified[key] = identity, bundle
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return identity

    def _verify(
        self, token: str, domains: Mapping[str, TrustDomain], now: float, digest: str
    ) -> tuple[WorkloadIdentity, TrustBundle]:
        # 1. The form: three canonical base64url parts, of a sane length.
        parts = _COMPACT.fullmatch(token) if len(token) <= LONGEST_TOKEN else None
        if parts is None:
            raise ProofMalformed
        header, claims = _json_object(parts[1]), _json_object(parts[2])

        # 2. The header: a known algorithm and nothing that the standard does not list.
        if header.keys() - {"alg", "kid", "typ"} or header.get("alg") not in _ALGORITHMS:
            raise ProofMalformed(detail=f"header {sorted(header)[:8]} with an algorithm or member that is not allowed")
        if "typ" in header and header["typ"] not in {"JWT", "JOSE"}:
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
        return WorkloadIdentity(
            spiffe_id=str(subject),
            trust_domain=subject.trust_domain,
            method="jwt-svid",
            assurance=_assurance(domain),
            proof=f"sha256:{digest}",
            key_id=signer.key_id[:256],
            token_id=token_id[:256] if isinstance(token_id, str) else None,
            expires_at=expires_at,
        ), bundle

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("aud")
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or self._audience not in named:
            raise ProofForAnotherAudience(f"The token's audience must be {self._audience!r}.")


def _assurance(domain: TrustDomain) -> Assurance:
    return "development" if domain.development else "attested"


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
    if expires_at - now > longest + _CLOCK_SKEW:
        raise ProofLivesTooLong(f"The token may live for {longest:.0f} seconds at most.")
    for name in ("nbf", "iat"):
        since = _seconds(claims, name)
        if since is not None and since > now + _CLOCK_SKEW:
            raise ProofNotYetValid(detail=f"{name} is {since - now:.0f} s ahead")
    return expires_at


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ProofMalformed(detail=f"{name} is not a number")
    return float(value)


def _json_object(part: str) -> dict[str, Any]:
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
            raise ValueError("base64url that is not canonical")
        value = json.loads(raw, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError):
        raise ProofMalformed from None
    if not isinstance(value, dict):
        raise ProofMalformed
    return value
