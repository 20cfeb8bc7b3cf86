"""A vault on a store of its own, and the Salesforce-shaped service that its grant is for."""

from collections.abc import Callable, Iterator
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


@pytest.fixture
async def service(egress: Egress, salesforce: SalesforceService) -> Service:
    """Describe the service as a connector's document does."""
    return service_of(egress, salesforce)


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
