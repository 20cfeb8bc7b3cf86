"""Proofs that have been verified, so that the next request with one costs no signature check."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from broker.errors import ProofExpired
from broker.identity.bundle import TrustBundle
from broker.identity.registry import TrustDomain
from broker.identity.store import TrustStore
from broker.identity.workload import WorkloadIdentity

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Verified:
    """An identity, and what it was verified by."""

    identity: WorkloadIdentity
    expires_at: float
    domain: TrustDomain
    bundle: TrustBundle


class Remembered:
    """The proofs of one kind that were verified, by their digest; of too many, the oldest is forgotten.

    What is remembered is still checked for its expiry and against the trust domain and bundle in force: a rotation, a
    revocation or a changed configuration takes effect at once. Not safe for use from several threads.
    """

    def __init__(self, store: TrustStore) -> None:
        self._store = store
        self._verified: OrderedDict[bytes, Verified] = OrderedDict()

    def __len__(self) -> int:
        return len(self._verified)

    def find(self, digest: bytes, domains: Mapping[str, TrustDomain], now: float) -> WorkloadIdentity | None:
        """Return the identity, or None if the proof must be verified; raise `ProofExpired` if its time is over."""
        remembered = self._verified.get(digest)
        if remembered is None:
            return None
        if not self._is_current(remembered, domains, now):
            del self._verified[digest]
            return None
        if remembered.expires_at <= now:
            raise ProofExpired
        return remembered.identity

    def keep(self, digest: bytes, verified: Verified) -> WorkloadIdentity:
        """Remember a proof, and return whose it is."""
        self._verified[digest] = verified
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return verified.identity

    def _is_current(self, verified: Verified, domains: Mapping[str, TrustDomain], now: float) -> bool:
        name = verified.identity.trust_domain
        return domains.get(name) == verified.domain and self._store.bundle(name, now) is verified.bundle
