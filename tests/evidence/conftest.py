"""A history on a store of its own, and sets to put in it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.documents import Snapshot, load
from broker.evidence.history import DocumentHistory
from broker.store import Store
from broker.testing.trust_domain import DevelopmentTrustDomain
from tests.documents.conftest import FILES, NOTES

Load = Callable[..., Snapshot]


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio, as the daemon does."""
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store."""
    store = Store.open(tmp_path / "data" / "broker.db", "access.example/log/test")
    yield store
    store.close()


@pytest.fixture
def history(store: Store) -> DocumentHistory:
    """Make a history."""
    return DocumentHistory(store)


@pytest.fixture
def change(tmp_path: Path) -> Load:
    """Write a set once, change files of it, and load it."""
    directory = tmp_path / "set"
    directory.mkdir()
    for name, text in FILES.items():
        (directory / name).write_text(text)
    (directory / "bundle.json").write_text(json.dumps(DevelopmentTrustDomain.new("prod").bundle()))

    def change(**files: str | None) -> Snapshot:
        for name, text in files.items():
            path = directory / name.replace("__", ".")
            path.unlink() if text is None else path.write_text(text)
        return load(directory, lambda _: NOTES)

    return change


@pytest.fixture
def records(store: Store) -> Callable[[], list[dict[str, Any]]]:
    """Return every record."""

    def records() -> list[dict[str, Any]]:
        with store.reading() as connection:
            return [json.loads(body) for body in store.trail.bodies(connection, 0, 10_000)]

    return records
