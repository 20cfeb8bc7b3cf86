"""The search index is kept up beside the calls, and says how far it is; trouble with it is nobody else's."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from broker.audit import Filter
from broker.errors import IndexUnavailable
from broker.evidence.indexer import Indexer
from broker.store import Store
from tests.support.broker import until
from tests.support.clock import Clock
from tests.support.trails import call, record

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Open a store that has one record."""
    store = Store.open(tmp_path / "broker.db", "access.example/log/test")
    await append(store, 1)
    yield store
    store.close()


@pytest.fixture
async def indexer(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Indexer]:
    """Keep its index up."""
    monkeypatch.setattr("broker.evidence.indexer._AGAIN_SECONDS", 0.01)
    indexer = Indexer(store)
    task = asyncio.create_task(indexer.keep_up())
    yield indexer
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def append(store: Store, count: int) -> None:
    """Append records."""
    await store.commits.commit(lambda change: [store.trail.append(change, record("x", "t")) for _ in range(count)])


async def test_what_is_recorded_is_found_soon(indexer: Indexer, store: Store) -> None:
    """Issue 3, What a user can do 2: the index follows the trail by itself, in as many batches as it takes."""
    with anyio.fail_after(30):
        for count in (1, 2500):
            await append(store, count)
            await indexer.caught_up(store.commits.values[store.trail.HEAD].size, 10)
        entries = await asyncio.to_thread(store.search.search, Filter(), None, 1)

    assert entries[0]["seq"] == 2501
    assert indexer.lag() == {"records": 0, "seconds": 0.0}


async def test_the_lag_says_how_many_records_and_since_when(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 3, What a user can do 2: its lag shown."""
    clock = Clock(100.0)
    monkeypatch.setattr("broker.evidence.indexer.time", clock)
    indexer = Indexer(store)
    store.search.catch_up(10)
    current = indexer.lag()
    await append(store, 3)
    clock.now = 104.25

    assert (current, indexer.lag()) == ({"records": 0, "seconds": 0.0}, {"records": 3, "seconds": 4.2})


async def test_who_needs_the_index_waits_for_it_and_not_for_ever(store: Store) -> None:
    """An export by filter needs every record before its end in the index; where nobody fills it, that is said."""
    indexer = Indexer(store)

    with pytest.raises(IndexUnavailable, match="record 0"):
        await indexer.caught_up(1, 0.01)
    store.search.catch_up(1)
    await indexer.caught_up(1, 0.0)


def block(store: Store) -> list[int]:
    """Put a directory in the index's place; return a list that grows with each attempt to fill the index."""
    attempts: list[int] = []
    catch_up = store.search.catch_up

    def counted(limit: int) -> int:
        attempts.append(limit)
        return catch_up(limit)

    store.search.catch_up = counted  # type: ignore[method-assign]
    for path in store.search.path.parent.glob("broker.db.index*"):
        path.unlink()
    store.search.path.mkdir()
    return attempts


async def test_trouble_is_said_once_and_ends_by_itself(
    indexer: Indexer, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Never in a call's way: records are written all the while, and the index is there when the cause is gone."""
    caplog.set_level(logging.INFO, "broker.evidence.indexer")
    await indexer.caught_up(1, 10)

    attempts = block(store)
    await append(store, 6)
    await asyncio.to_thread(until, lambda: len(attempts) > 3)
    store.search.path.rmdir()
    await indexer.caught_up(7, 10)

    assert caplog.messages == ["the search index cannot be kept up", "the search index is kept up again"]


async def test_a_rebuilt_index_is_filled_again(indexer: Indexer, store: Store) -> None:
    """Issue 3, What a user can do 2: rebuildable."""
    await store.commits.commit(lambda change: [store.trail.append(change, one) for one in call("c", agent="a")])
    await indexer.caught_up(4, 10)

    await indexer.rebuild()
    await indexer.caught_up(4, 10)

    assert [entry["call_id"] for entry in store.search.search(Filter(agent="a"), None, 5)] == ["c"]


async def test_a_deleted_index_is_made_again_though_nothing_is_recorded(indexer: Indexer, store: Store) -> None:
    """Issue 3, What a user can do 2: without anybody's help."""
    await indexer.caught_up(1, 10)

    store.search.path.unlink()
    missing = indexer.lag()["records"]
    await indexer.caught_up(1, 10)

    assert missing == 1
    assert store.search.path.exists()
