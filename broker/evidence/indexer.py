"""Keeps the search index up with the trail: beside the calls, in small batches, in a worker thread."""

import asyncio
import contextlib
import logging
import time
from typing import TypedDict

from broker.errors import IndexUnavailable
from broker.store import Store

logger = logging.getLogger(__name__)

_BATCH = 1000  # records: some ten milliseconds of SQL
_IDLE_SECONDS = 0.25
_AGAIN_SECONDS = 1.0


class Lag(TypedDict):
    """How many records the index lacks, and for how many seconds it has lacked any."""

    records: int
    seconds: float


class Indexer:
    """Fills the index of a store for as long as `keep_up` runs. Trouble with it stops no call: it is said once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._current = time.monotonic()
        self._called = asyncio.Event()
        self._advanced = asyncio.Event()
        self._failing = False

    async def keep_up(self) -> None:
        """Index what comes, for ever: four times a second, as each time costs as much as a call, or as somebody asks.

        What is far behind is caught up with in batches, with as much rest between them as one took.
        """
        while True:
            began, behind = time.monotonic(), self.lag()["records"]
            works = await self._index() if behind else True
            rest = time.monotonic() - began if behind > _BATCH else _IDLE_SECONDS
            await self._until_called(rest if works else _AGAIN_SECONDS)

    def lag(self) -> Lag:
        """Return how far the index is behind the trail."""
        records = max(self._records() - self._store.search.size, 0)
        if not records:
            self._current = time.monotonic()
        return {"records": records, "seconds": round(time.monotonic() - self._current, 1) if records else 0.0}

    async def caught_up(self, size: int, seconds: float) -> None:
        """Wait until so many records are indexed; raise `IndexUnavailable` if that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while self._store.search.size < size:
                    self._called.set()
                    await self._advanced.wait()
        except TimeoutError:
            raise IndexUnavailable(f"The search index is not as far as record {size - 1} yet; try again.") from None

    async def rebuild(self) -> None:
        """Throw the index away; it is filled again from the first record."""
        await asyncio.to_thread(self._store.search.rebuild)
        self._called.set()

    async def _index(self) -> bool:
        try:
            await asyncio.to_thread(self._store.search.catch_up, _BATCH)
        except IndexUnavailable as refusal:
            if not self._failing:
                logger.error("the search index cannot be kept up", extra={"detail": refusal.detail})  # noqa: TRY400
            self._failing = True
            return False
        if self._failing:
            logger.info("the search index is kept up again")
        self._failing = False
        advanced, self._advanced = self._advanced, asyncio.Event()
        advanced.set()
        return True

    def _records(self) -> int:
        return int(self._store.commits.values[self._store.trail.HEAD].size)

    async def _until_called(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._called.wait()
        self._called.clear()
