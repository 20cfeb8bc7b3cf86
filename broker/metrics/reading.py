"""What is read from the store for people who watch: beside the calls, and never waited for where the disk hangs."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from broker.errors import AuditUnavailable

T = TypeVar("T")
_PATIENCE = 2.0  # seconds; a scrape has ten
_FRESH = 1.0  # seconds for which nobody reads again


class Reading(Generic[T]):
    """One reading at a time, in a thread of its own; where it takes too long or fails, what was read last serves on."""

    def __init__(self, read: Callable[[], T], nothing: T, patience: float = _PATIENCE, fresh: float = _FRESH) -> None:
        self._read = read
        self._known = nothing
        self._patience = patience
        self._fresh = fresh
        self._thread = ThreadPoolExecutor(1, "metrics-store")
        self._under_way: asyncio.Future[T] | None = None
        self._began = -fresh
        self.at = 0.0
        """When it was read last, in seconds since the epoch; 0 if it never was."""

    async def latest(self) -> T:
        """Return what the store says now, or has said last."""
        now = time.monotonic()
        if self._under_way is None and now - self._began >= self._fresh:
            self._begin(now)
        if self._under_way is not None and now - self._began < self._patience:
            await asyncio.wait({self._under_way}, timeout=self._began + self._patience - now)
        return self._known

    def close(self) -> None:
        """Read no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self, now: float) -> None:
        self._began = now
        self._under_way = asyncio.get_running_loop().run_in_executor(self._thread, self._read)
        self._under_way.add_done_callback(self._done)

    def _done(self, done: "asyncio.Future[T]") -> None:
        self._under_way = None
        if done.cancelled():
            return
        with contextlib.suppress(AuditUnavailable):  # the store's own metrics say so
            self._known, self.at = done.result(), time.time()
