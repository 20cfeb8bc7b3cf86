"""What a monitoring system watches: how calls end and how the broker stands, as Prometheus and its like read it.

Calls are counted where they end; everything else is read when somebody asks. A label is a name of the documents or a
word of the broker's own, never anything that an agent or a service has sent.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, disable_created_metrics

from broker.documents.memory import short_turns
from broker.metrics import agents, stored
from broker.metrics.calls import CallMeters
from broker.metrics.commits import CommitMeters
from broker.metrics.drift import Drift
from broker.metrics.exposition import plain_values, text
from broker.metrics.reading import Reading
from broker.metrics.standing import broker_families, money_families, service_families, trail_families, trust_families
from broker.metrics.stored import Stored
from broker.metrics.watched import Watched
from broker.pipeline import Ended

__all__ = ["Metrics", "Watched"]

T = TypeVar("T")


class Metrics:
    """The metrics of one broker. Use it from its event loop."""

    def __init__(self, watched: Watched) -> None:
        """Watch from now on."""
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, which says when it began and nobody asks
        self._watched = watched
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._calls, self._drift = CallMeters(), Drift()
        self._stored: Reading[Stored] = Reading(lambda: stored.read(watched), Stored())
        self._thread = ThreadPoolExecutor(1, "metrics-text")
        watched.recorder.watch = self._ended
        watched.store.commits.watch = CommitMeters(self._registry).ended

    async def text(self, accept: str = "") -> tuple[bytes, str]:
        """Return every metric as text, and its content type: what the `Accept` header asks for, if it is known."""
        standing, known = await self._standing()
        return await self._beside(lambda: text(self._all(standing, known), accept))

    async def values(self) -> list[dict[str, Any]]:
        """Return every metric as plain values."""
        standing, known = await self._standing()
        return await self._beside(lambda: plain_values(self._all(standing, known)))

    async def noticed(self) -> dict[str, Any]:
        """Return what somebody must look at: overruns (None if the store has not said), and tools that have drifted."""
        known = await self._stored.latest()
        drifted = [tool.name for tool in self._drift.now(self._watched.documents.current.catalog)]
        return {"overruns": sum(known.overruns.values()) if self._stored.at else None, "drifted": drifted}

    def close(self) -> None:
        """Read no more."""
        self._stored.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ended(self, ended: Ended) -> None:
        self._calls.ended(ended)
        self._drift.ended(ended)

    async def _standing(self) -> tuple[list[Metric], Stored]:
        """Return what stands in memory, read at one moment, and what the store has said."""
        known, watched = await self._stored.latest(), self._watched
        standing = [
            *broker_families(watched),
            *money_families(watched),
            *trail_families(watched),
            *service_families(watched, self._drift),
            *trust_families(watched),
        ]
        return standing, known

    def _all(self, standing: Sequence[Metric], known: Stored) -> list[Metric]:
        more = (*stored.families(known, self._stored.at), *agents.families(self._watched))
        return [*self._calls.families(), *standing, *more, *self._registry.collect()]

    async def _beside(self, job: Callable[[], T]) -> T:
        """Do what takes some milliseconds in a thread, while calls go on."""

        def in_turns() -> T:
            with short_turns():
                return job()

        return await asyncio.get_running_loop().run_in_executor(self._thread, in_turns)
