"""The trust bundles in force, each under its own trust domain."""

from collections.abc import Callable

from cryptography.hazmat.primitives.serialization import Encoding

from broker.errors import ProofUntrusted
from broker.identity.bundle import TrustBundle


class TrustStore:
    """The bundles in force, each under its own trust domain; they are never merged (SPIFFE_Federation §4.2)."""

    def __init__(self) -> None:
        self._bundles: dict[str, TrustBundle] = {}
        self._stale_after: dict[str, float] = {}
        self.on_change: Callable[[], None] | None = None
        """Called after each change of what is in force; for whoever keeps a copy of it."""

    def put(self, bundle: TrustBundle, *, stale_after: float | None = None) -> bool:
        """Put a bundle in force; returns False, and keeps what it has, when a fetched one is older by its sequence.

        `stale_after` is the moment (seconds since the epoch) from which the bundle is no longer trusted.
        """
        held = self._bundles.get(bundle.trust_domain)
        if (
            held is not None
            and bundle.fetched_at is not None
            and held.sequence is not None
            and (bundle.sequence is None or bundle.sequence < held.sequence)
        ):
            return False
        self._bundles[bundle.trust_domain] = bundle
        self._stale_after.pop(bundle.trust_domain, None)
        if stale_after is not None:
            self._stale_after[bundle.trust_domain] = stale_after
        self._changed()
        return True

    def forget(self, trust_domain: str) -> None:
        """Take the domain's bundle out of force, if there is one: until another comes, nothing from it is trusted."""
        self._bundles.pop(trust_domain, None)
        self._stale_after.pop(trust_domain, None)
        self._changed()

    def every_authority(self) -> frozenset[bytes]:
        """Return the X.509 authorities of all trust domains (DER); a filter for who may speak, and no more."""
        bundles = self._bundles.values()
        return frozenset(one.public_bytes(Encoding.DER) for bundle in bundles for one in bundle.authorities)

    def keep_only(self, trust_domains: set[str]) -> None:
        """Forget the bundles of trust domains that are no longer configured."""
        for name in self._bundles.keys() - trust_domains:
            self.forget(name)

    def find(self, trust_domain: str) -> TrustBundle | None:
        """Return the domain's bundle, however old; for reports."""
        return self._bundles.get(trust_domain)

    def is_stale(self, trust_domain: str, now: float) -> bool:
        """Tell whether the domain's bundle has become too old to trust."""
        return now > self._stale_after.get(trust_domain, now)

    def bundle(self, trust_domain: str, now: float) -> TrustBundle:
        """Return the domain's bundle; raise `ProofUntrusted` if there is none or it has become too old to trust."""
        bundle = self._bundles.get(trust_domain)
        if bundle is None:
            raise ProofUntrusted(detail=f"no trust bundle for {trust_domain}")
        if self.is_stale(trust_domain, now):
            raise ProofUntrusted(detail=f"the trust bundle of {trust_domain} has not been renewed for too long")
        return bundle

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
