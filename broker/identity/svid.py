"""JWT-SVIDs (SPIFFE JWT-SVID standard), on the strict layer that all tokens pass."""

import hashlib
from collections.abc import Mapping

from broker.errors import ProofMalformed, ProofUntrusted
from broker.identity.jwt import (
    LONGEST_TOKEN,
    check_audience,
    check_header,
    check_signature,
    check_times,
    read_token,
    text_claim,
)
from broker.identity.registry import TrustDomain
from broker.identity.remembered import Remembered, Verified
from broker.identity.store import TrustStore
from broker.identity.workload import SpiffeId, WorkloadIdentity

_HEADER = ("alg", "kid", "typ")  # §2: nothing else
_TYPES = ("JWT", "JOSE")


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
        # 1. The form, and a header with nothing that the standard does not list.
        unverified = read_token(token)
        header, claims = unverified.header, unverified.claims
        check_header(header, _HEADER)
        if "typ" in header and header["typ"] not in _TYPES:
            raise ProofMalformed(detail="typ is neither JWT nor JOSE")

        # 2. The subject: a workload of a trust domain that is configured here.
        try:
            subject = SpiffeId.parse(claims["sub"])
        except (KeyError, TypeError, ValueError):
            raise ProofMalformed(detail="sub is not a SPIFFE ID of a workload") from None
        domain = domains.get(subject.trust_domain)
        if domain is None:
            raise ProofUntrusted(detail=f"trust domain {subject.trust_domain} is not configured")

        # 3. The signature, by a key of the subject's own trust domain and no other.
        bundle = self._store.bundle(subject.trust_domain, now)
        signer = check_signature(unverified, bundle)

        # 4. Audience and times, of which the signature now vouches.
        check_audience(claims, self._audience)
        expires_at = check_times(claims, now, domain.longest_lifetime)
        identity = WorkloadIdentity(
            spiffe_id=str(subject),
            trust_domain=subject.trust_domain,
            method="jwt-svid",
            assurance="development" if domain.development else "attested",
            proof=f"sha256:{digest}",
            key_id=signer.key_id[:256],
            token_id=text_claim(claims, "jti"),
            expires_at=expires_at,
        )
        return Verified(identity, expires_at, domain, bundle)
