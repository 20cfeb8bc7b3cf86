"""Identity assertions (ID-JAG, draft-ietf-oauth-identity-assertion-authz-grant): a person's delegation to a client.

An enterprise's identity provider signs one for the broker's own token endpoint; it is good for one use there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from broker.errors import ProofForAnotherAudience, ProofMalformed, ProofUntrusted
from broker.identity.federated import HEADER, Issuers, check_scopes
from broker.identity.issuer import Issuer
from broker.identity.jwt import Unverified, check_audience, check_header, check_signature, check_times, read_token
from broker.identity.store import TrustStore
from broker.identity.workload import OnBehalfOf

_TYPE = "oauth-id-jag+jwt"
_LONGEST_ID = 256


@dataclass(frozen=True, slots=True)
class Assertion:
    """A verified ID-JAG: which agent its client is, who delegated, and what makes it one of a kind."""

    workload: str
    on_behalf_of: OnBehalfOf
    issuer: str
    id: str
    expires_at: float
    scopes: tuple[str, ...]


class AssertionVerifier:
    """Verifies ID-JAGs for one token endpoint (`audience`) and one resource; it does not know of uses."""

    def __init__(self, audience: str, resource: str, issuers: Callable[[], Issuers], store: TrustStore) -> None:
        self._audience = audience
        self._resource = resource
        self._issuers = issuers
        self._store = store

    def verify(self, text: str, now: float) -> Assertion:
        """Return what an assertion says; raise `Unauthenticated` or `AgentBarred`."""
        # 1. An ID-JAG by its form, of an issuer whose ID-JAGs are taken.
        unverified = read_token(text)
        check_header(unverified.header, HEADER)
        if unverified.header.get("typ") != _TYPE:
            raise ProofMalformed(detail=f"typ is not {_TYPE}")
        issuer = self._issuer_of(unverified)

        # 2. Signed by it, for this token endpoint and resource, now.
        check_signature(unverified, self._store.bundle(issuer.issuer, now))
        claims = unverified.claims
        check_audience(claims, self._audience)
        self._check_resource(claims)
        expires_at = check_times(claims, now, issuer.longest_lifetime)
        if "iat" not in claims:
            raise ProofMalformed(detail="no iat")

        # 3. Which agent its client is, and who delegated.
        check_scopes(claims, issuer)
        rule = issuer.rule_for(claims)
        delegated = issuer.on_behalf_of(rule, claims)
        if rule.client is None or delegated is None:
            raise ProofMalformed(detail="the rule that fits is not about a client")
        return Assertion(
            rule.workload,
            replace(delegated, method="id-jag"),
            issuer.issuer,
            _id(claims),
            expires_at,
            issuer.scopes,
        )

    def _issuer_of(self, unverified: Unverified) -> Issuer:
        claimed = unverified.claims.get("iss")
        issuer = self._issuers().get(claimed) if isinstance(claimed, str) else None
        if issuer is None or not issuer.id_jag:
            raise ProofUntrusted(detail="identity assertions of this issuer are not taken")
        return issuer

    def _check_resource(self, claims: Mapping[str, Any]) -> None:
        wanted = claims.get("resource", self._resource)
        if self._resource not in (wanted if isinstance(wanted, list) else [wanted]):
            raise ProofForAnotherAudience(f"The assertion's resource must be {self._resource!r}.")


def _id(claims: Mapping[str, Any]) -> str:
    found = claims.get("jti")
    if not isinstance(found, str) or not found.isprintable() or not 0 < len(found) <= _LONGEST_ID:
        raise ProofMalformed(detail="jti is missing, or too long to be kept")
    return found
