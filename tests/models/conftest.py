"""A gateway for tests that leave it as it was, and own ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.testing.models import ModelService
from tests.support.models import Gateway, open_gateway
from tests.support.notes import NotesService


@pytest.fixture(scope="session")
def model_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelService]:
    """Serve models."""
    with ModelService(tmp_path_factory.mktemp("models")) as service:
        yield service


@pytest.fixture(scope="session")
def shared_gateway(
    notes_service: NotesService, model_service: ModelService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Serve one gateway for many tests."""
    with open_gateway(tmp_path_factory.mktemp("gateway"), notes_service, model_service) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """Lend the shared gateway, whose service answers as it should, and whose targets have no past."""
    shared_gateway.behaves()
    shared_gateway.broker.parts.models.means.health = type(shared_gateway.broker.parts.models.means.health)()
    return shared_gateway


@pytest.fixture
def own_gateway(notes_service: NotesService, model_service: ModelService, tmp_path: Path) -> Iterator[Gateway]:
    """Serve a gateway whose documents a test may change."""
    model_service.next, model_service.seen = [], []
    with open_gateway(tmp_path / "access", notes_service, model_service) as gateway:
        gateway.behaves()
        yield gateway


@pytest.fixture
def poor(notes_service: NotesService, model_service: ModelService, tmp_path: Path) -> Iterator[Gateway]:
    """Serve a gateway whose agent has a dollar a day for calls of a tenth of a cent."""
    model_service.next, model_service.seen = [], []
    with open_gateway(tmp_path, notes_service, model_service, budget="{daily_usd: 0.002}") as gateway:
        gateway.behaves()
        yield gateway
