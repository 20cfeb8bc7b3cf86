"""A vault on a store of its own, and the Salesforce-shaped service that its grant is for."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from broker.egress import Egress
from broker.store import Store
from broker.testing.salesforce import SalesforceService
from broker.vault import KeyEncryptionKey, Service, Vault
from tests.support.low_salesforce import service_of
from tests.support.low_tls import anyio_backend

__all__ = ["anyio_backend"]  # a fixture

LOG = "access.example/log/test"
OpenVault = Callable[..., Vault]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SalesforceService]:
    """Serve a Salesforce-shaped service."""
    with SalesforceService(tmp_path_factory.mktemp("salesforce")) as service:
        yield service


@pytest.fixture
def salesforce(shared: SalesforceService) -> Iterator[SalesforceService]:
    """Lend it, and take back the faults that are left over."""
    yield shared
    shared.faults.clear()


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    """Make the only way out."""
    egress = Egress()
    yield egress
    await egress.close()


@pytest.fixture
async def service(egress: Egress, salesforce: SalesforceService) -> Service:
    """Describe the service as a connector's document does."""
    return service_of(egress, salesforce)


@pytest.fixture
def key() -> KeyEncryptionKey:
    """Make a key-encryption key."""
    return KeyEncryptionKey(os.urandom(32))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store."""
    store = Store.open(tmp_path / "broker.db", LOG)
    yield store
    store.close()


@pytest.fixture
async def vault(store: Store, key: KeyEncryptionKey) -> Vault:
    """Start a vault."""
    vault = Vault(store, key)
    await vault.start()
    return vault
