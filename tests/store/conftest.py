"""A store of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.store import Store
from tests.support.low_tls import anyio_backend

__all__ = ["anyio_backend"]  # a fixture


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store."""
    store = Store.open(tmp_path / "data" / "broker.db", "access.example/log/test")
    yield store
    store.close()
