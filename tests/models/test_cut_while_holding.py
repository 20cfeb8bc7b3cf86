"""A caller who leaves while money is being held for it: what is on its way to disk is given back, not frozen."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from broker.errors import AuditUnavailable
from broker.identity import WorkloadIdentity
from broker.models import model_of
from broker.pipeline import ModelRequest, Origin
from broker.testing.models import Behaviour, ModelService
from tests.support.broker import locked
from tests.support.documents import ANALYST
from tests.support.models import Gateway, asked, open_gateway
from tests.support.notes import NotesService


@pytest.fixture
def gateway(notes_service: NotesService, model_service: ModelService, tmp_path: Path) -> Iterator[Gateway]:
    """Serve a gateway whose agent has a budget and whose first target takes nothing up."""
    model_service.next, model_service.seen = [], []
    with open_gateway(tmp_path / "access", notes_service, model_service, budget="{daily_usd: 1}") as gateway:
        gateway.behaves(Behaviour(status=429))
        yield gateway


def counted(gateway: Gateway) -> tuple[list[Any], tuple[int, int]]:
    """Return the holds that have not ended, and what the day has spent and held."""
    store = gateway.broker.parts.store
    query = "SELECT coalesce(sum(spent), 0), coalesce(sum(held), 0) FROM budget_windows"
    return store.read(store.budgets.live), store.read(lambda connection: connection.execute(query).fetchone())


async def at_commit(gateway: Gateway, number: int, slow: ExitStack | None = None) -> BaseException | None:
    """Make a call; once its commit of this number is queued, leave it, or let the disk stand still instead."""
    parts, queued = gateway.broker.parts, asyncio.Event()
    submit, left = parts.store.commits.submit, number

    def submitted(change: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            queued.set()
            if slow is not None:
                slow.enter_context(locked(gateway.broker.written.directory / "data/broker.db"))
        return submit(change)

    with patch.object(parts.store.commits, "submit", submitted):
        calling = asyncio.create_task(parts.models.call(_request("twice"), _pass))
        await queued.wait()
        if slow is None:
            calling.cancel()
        await asyncio.wait([calling])
    if slow is not None:
        slow.close()
    await parts.recorder.note("mark")
    return None if calling.cancelled() else calling.exception()


@pytest.mark.parametrize("commit", [1, 2], ids=["the first attempt", "a fallback"])
def test_who_leaves_while_money_is_held_leaves_no_hold_behind(gateway: Gateway, commit: int) -> None:
    """decisions/0100: what cannot have been billed is given back, at the end of the call and not at the next start."""
    gateway.broker.await_(at_commit, gateway, commit)

    assert counted(gateway) == ([], (0, 0))
    assert gateway.finished()["status"] == "cancelled" or commit == 2
    assert len(gateway.service.seen) == commit - 1


@pytest.mark.parametrize("commit", [1, 2], ids=["the first attempt", "a fallback"])
def test_a_hold_that_comes_to_a_slow_disk_too_late_is_given_back(gateway: Gateway, commit: int) -> None:
    """architecture.md: a commit that takes too long is not waited for; it may be durable later all the same."""
    with ExitStack() as slow, patch("broker.store.queue.SLOW_SECONDS", 0.05):
        refused = gateway.broker.await_(at_commit, gateway, commit, slow)

    assert isinstance(refused, AuditUnavailable)
    assert counted(gateway) == ([], (0, 0))
    assert len(gateway.service.seen) == commit - 1


def test_who_leaves_before_the_request_does_pays_nothing(gateway: Gateway) -> None:
    """decisions/0100: a credential that is still being opened has sent nothing, so nothing was billed."""

    async def case() -> None:
        parts, opening = gateway.broker.parts, asyncio.Event()

        async def never(*_: Any) -> None:
            opening.set()
            await asyncio.Event().wait()

        with patch("broker.egress.Session.open", never):
            calling = asyncio.create_task(parts.models.call(_request("small"), _pass))
            await opening.wait()
            calling.cancel()
            await asyncio.wait([calling])
        await parts.recorder.note("mark")

    gateway.broker.await_(case)

    assert counted(gateway) == ([], (0, 0))
    assert gateway.finished()["attempts"][0]["cost_source"] == "unsent"


def _request(alias: str) -> ModelRequest:
    identity = WorkloadIdentity(ANALYST, "prod", "jwt-svid", "development", "sha256:0")
    body = msgspec.json.encode(asked(alias))
    _, fields = model_of(body)
    return ModelRequest(identity, "chat", alias, body, fields, Origin("streamable-http", "127.0.0.1"))


async def _pass(_events: bytes) -> None:
    raise AssertionError("nothing is streamed here")
