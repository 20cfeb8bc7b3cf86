"""Tokens of other issuers than trust domains: verified like SVIDs, then mapped to the one agent they stand for."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.errors import InsufficientScope, ProofExpired, ProofMalformed, ProofUntrusted
from broker.identity import access_key, issued
from broker.identity.bundle import TrustBundle
from broker.identity.issuer import Issuer, subject_of
from broker.identity.jwt import (
    Unverified,
    check_audience,
    check_header,
    check_signature,
    check_times,
    read_token,
    text_claim,
)
from broker.identity.store import TrustStore
from broker.identity.workload import SpiffeId, WorkloadIdentity

# x5t only names a certificate, as GitHub and Entra ID do; what names a key's place (jku, x5u) or a rule is refused
HEADER = ("alg", "kid", "typ", "x5t", "x5t#S256")
# RFC 9068 §2.1; other types (id-jag, logout, DPoP proofs, …) were signed to be something else
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_REMEMBERED = 10_000
_REVIEW_SECONDS = 10.0  # as long as Kubernetes' own cache of reviews
_MOST_REVIEWS = 10_000

OPAQUE = (access_key.PREFIX, issued.PREFIX)
"""How what is no token of an issuer's begins."""

Issuers = Mapping[str, Issuer]
"""The issuers that are configured, by their URL: the exact value of `iss`."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """An identity, and what it was verified by."""

    identity: WorkloadIdentity
    expires_at: float
    issuer: Issuer
    keys: TrustBundle | None


@dataclass(frozen=True, slots=True)
class Review:
    """What an API server has said of a token: whose it is, when it said so, and of which configured issuer."""

    username: str
    at: float
    issuer: Issuer


class FederatedVerifier:
    """Verifies tokens of the issuers in force, remembering those that it has verified, as `SvidVerifier` does."""

    def __init__(
        self, issuers: Callable[[], Issuers], store: TrustStore, unknown_key: Callable[[str], None] | None = None
    ) -> None:
        self._issuers = issuers
        self._store = store
        self._unknown_key = unknown_key
        self._claimed: OrderedDict[bytes, str | None] = OrderedDict()
        """Of whom tokens say that they are: reading one costs more than all else that is done for a remembered one."""
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._reviews: OrderedDict[bytes, Review] = OrderedDict()

    def issuer_of(self, token: str) -> Issuer | None:
        """Return the configured issuer that a token says it is of, before anybody has vouched for that.

        Raises `ProofMalformed` for what is no token at all.
        """
        issuers = self._issuers()
        if not issuers or token.startswith(OPAQUE):
            return None
        digest = _digest(token)
        if digest not in self._claimed:
            claimed = read_token(token).claims.get("iss")
            self._claimed[digest] = claimed if isinstance(claimed, str) else None
            if len(self._claimed) > _REMEMBERED:
                self._claimed.popitem(last=False)
        claimed = self._claimed[digest]
        return issuers.get(claimed) if claimed is not None else None

    def to_review(self, token: str, issuer: Issuer, now: float) -> bool:
        """Tell whether the API server must be asked about a token; raise if it would be refused whatever it says."""
        if not issuer.is_reviewed or self._review(_digest(token), issuer, now) is not None:
            return False
        self._check(read_token(token), issuer, now)
        return True

    def reviewed(self, token: str, review: Review) -> None:
        """Remember what an API server has said of a token."""
        self._reviews[_digest(token)] = review
        if len(self._reviews) > _MOST_REVIEWS:
            self._reviews.popitem(last=False)

    def verify(self, token: str, issuer: Issuer, now: float) -> WorkloadIdentity:
        """Return the agent that a token of the issuer proves at `now`; raise `Unauthenticated` or `AgentBarred`."""
        digest = _digest(token)
        review = self._review(digest, issuer, now)
        if issuer.is_reviewed and review is None:
            raise ProofUntrusted(detail=f"the API server of issuer {issuer.name} has not vouched for the token")
        if remembered := self._verified.get(digest):
            if self._is_current(remembered, issuer, now):
                if remembered.expires_at <= now:
                    raise ProofExpired
                return remembered.identity
            del self._verified[digest]
        verified = self._verified[digest] = self._verify(read_token(token), issuer, review, now)
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return verified.identity

    def _is_current(self, verified: _Verified, issuer: Issuer, now: float) -> bool:
        return verified.issuer == issuer and self._keys(issuer, now) is verified.keys

    def _review(self, digest: bytes, issuer: Issuer, now: float) -> Review | None:
        review = self._reviews.get(digest)
        is_fresh = review is not None and review.issuer == issuer and 0 <= now - review.at <= _REVIEW_SECONDS
        return review if is_fresh else None

    def _keys(self, issuer: Issuer, now: float) -> TrustBundle | None:
        return self._store.bundle(issuer.issuer, now) if issuer.has_keys else None

    def _verify(self, unverified: Unverified, issuer: Issuer, review: Review | None, now: float) -> _Verified:
        # 1. Whatever can be wrong with the token itself: its signature, its audience, its times.
        expires_at, keys, key_id = self._check(unverified, issuer, now)
        claims = unverified.claims
        subject = subject_of(claims)
        if review is not None and review.username != subject:
            raise ProofUntrusted(detail="the API server says that the token is another's")

        # 2. What it was authorized for, and whom it stands for.
        check_scopes(claims, issuer)
        rule = issuer.rule_for(claims)
        identity = WorkloadIdentity(
            spiffe_id=rule.workload,
            trust_domain=SpiffeId.parse(rule.workload).trust_domain,
            method="oidc" if review is None else "token-review",
            assurance="federated",
            proof=f"sha256:{_digest(unverified.token).hex()}",
            key_id=key_id,
            token_id=text_claim(claims, "jti"),
            expires_at=expires_at,
            on_behalf_of=issuer.on_behalf_of(rule, claims),
            issuer=issuer.issuer,
            subject=subject,
        )
        return _Verified(identity, expires_at, issuer, keys)

    def _check(
        self, unverified: Unverified, issuer: Issuer, now: float
    ) -> tuple[float, TrustBundle | None, str | None]:
        """Return when a token expires, and the keys and the key that vouch for it."""
        check_header(unverified.header, HEADER)
        if "typ" in unverified.header and str(unverified.header["typ"]).lower() not in _TYPES:
            raise ProofMalformed(detail="typ is that of another kind of token")
        keys, key_id = self._keys(issuer, now), None
        if keys is not None:
            key_id = self._signer(unverified, keys)
        check_audience(unverified.claims, issuer.audience)
        return check_times(unverified.claims, now, issuer.longest_lifetime), keys, key_id

    def _signer(self, unverified: Unverified, keys: TrustBundle) -> str:
        try:
            return check_signature(unverified, keys).key_id.strip()[:256]
        except ProofUntrusted:
            if self._unknown_key is not None:  # its issuer may have begun to use a new one
                self._unknown_key(keys.trust_domain)
            raise


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def check_scopes(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Return if the token has every scope that is asked for (`scope`, RFC 8693 §4.2; `scp` of Okta and Entra ID)."""
    given = claims.get("scope", claims.get("scp"))
    listed = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    if missing := [scope for scope in issuer.scopes if scope not in listed]:
        raise InsufficientScope(
            f"The token lacks {' '.join(missing)!r}; authorize again with the scopes {' '.join(issuer.scopes)!r}.",
            scopes=issuer.scopes,
        )
