"""A service with effects, documents for it, and brokers: one for all tests that leave it as it was, and own ones."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from broker.egress import Egress
from broker.testing.salesforce import SalesforceService
from broker.vault import KeyEncryptionKey
from tests.support.broker import ServedBroker
from tests.support.clients import Wire
from tests.support.documents import Written, connector_document, write_documents
from tests.support.notes import Notes, NotesService

Serve = Callable[..., ServedBroker]

# How fast a machine is while other tests run on it is no property of ours; CI looks at the same examples each time
_UNTIMED: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("here", **_UNTIMED)
settings.register_profile("ci", derandomize=True, **_UNTIMED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "here"))


@pytest.fixture(scope="session")
def notes_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotesService]:
    """Serve the notes."""
    with NotesService(tmp_path_factory.mktemp("notes")) as service:
        yield service


@pytest.fixture(scope="session")
def shared_broker(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """Serve one broker for many tests."""
    written = write_documents(tmp_path_factory.mktemp("access"), notes_service)
    with ServedBroker(written, Notes()) as broker:
        yield broker


@pytest.fixture
def broker(shared_broker: ServedBroker) -> ServedBroker:
    """Lend the shared broker, whose tool `misbehave` reads a note unless the test says otherwise."""
    shared_broker.notes.behave()
    return shared_broker


@pytest.fixture
def wire(broker: ServedBroker) -> Wire:
    """Let the analyst speak to the shared broker."""
    return Wire(broker)


@pytest.fixture
def written(notes_service: NotesService, tmp_path: Path) -> Written:
    """Write documents that the test may change."""
    return write_documents(tmp_path / "access", notes_service)


@pytest.fixture
def serve(notes_service: NotesService, tmp_path: Path) -> Iterator[Serve]:
    """Serve brokers of the test's own; what it is given is put into the Broker document."""
    with ExitStack() as stack:

        def serve(
            *, development: bool = True, grant: bool = True, snapshot: str | None = None, **document: Any
        ) -> ServedBroker:
            written = write_documents(tmp_path / "access", notes_service, **document)
            written.put("notes.yaml", connector_document(notes_service.url, snapshot))
            return stack.enter_context(ServedBroker(written, Notes(), development=development, grant=grant))

        yield serve


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio, as the daemon does."""
    return "asyncio"


@pytest.fixture(scope="session")
def shared_salesforce(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SalesforceService]:
    """Serve a Salesforce-shaped service."""
    with SalesforceService(tmp_path_factory.mktemp("salesforce")) as service:
        yield service


@pytest.fixture
def salesforce(shared_salesforce: SalesforceService) -> Iterator[SalesforceService]:
    """Lend it, and take back the faults that are left over."""
    yield shared_salesforce
    shared_salesforce.faults.clear()


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    """Make the only way out."""
    egress = Egress()
    yield egress
    await egress.close()


@pytest.fixture
def key() -> KeyEncryptionKey:
    """Make a key-encryption key."""
    return KeyEncryptionKey(os.urandom(32))
