"""A trust store with one trust domain, and a verifier for it."""

from collections.abc import Callable, Mapping

import pytest

from broker.identity import TrustDomain, TrustStore, WorkloadIdentity, parse_bundle
from broker.identity.svid import SvidVerifier
from tests.support.low_issuer import AUDIENCE, DOMAIN, NOW, bundle, entry
from tests.support.low_tls import anyio_backend, authority, certificate

__all__ = ["anyio_backend", "authority", "certificate"]  # fixtures

Verify = Callable[..., WorkloadIdentity]


@pytest.fixture
def domains() -> dict[str, TrustDomain]:
    """Configure one trust domain."""
    return {DOMAIN: TrustDomain(DOMAIN, "production")}


@pytest.fixture
def store() -> TrustStore:
    """Trust one key of it, for ES256."""
    store = TrustStore()
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"))))
    return store


@pytest.fixture
def verify(store: TrustStore, domains: Mapping[str, TrustDomain]) -> Verify:
    """Verify a token, at the moment at which tokens are issued here or at another."""
    verifier = SvidVerifier(AUDIENCE, store)

    def verify(token: str, now: float | None = None) -> WorkloadIdentity:
        return verifier.verify(token, domains, NOW if now is None else now)

    return verify
