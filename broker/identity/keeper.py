"""Keeps the trust bundles that come from elsewhere: fetched from URLs, streamed from the Workload API."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from broker.identity.fetch import BundleUrl, keep_fresh
from broker.identity.store import TrustStore
from broker.identity.workload_api import WorkloadApi, follow

Kept = BundleUrl | WorkloadApi


class BundleKeeper:
    """Keeps the bundles of a changing set of sources fresh in a trust store."""

    def __init__(self, store: TrustStore) -> None:
        self._store = store
        self._tasks: dict[Kept, asyncio.Task[None]] = {}

    def keep(self, sources: list[Kept]) -> None:
        """Keep these from now on, and no others.

        Where a source is new, what another one said of its trust domain is forgotten at once.
        """
        for gone in self._tasks.keys() - set(sources):
            self._tasks.pop(gone).cancel()
        for source in sources:
            if source not in self._tasks:
                self._store.forget(source.trust_domain)
                self._tasks[source] = asyncio.create_task(_keeping(source, self._store))

    async def close(self) -> None:
        """Keep nothing any more."""
        tasks = list(self._tasks.values())
        self.keep([])
        await asyncio.gather(*tasks, return_exceptions=True)


def _keeping(source: Kept, store: TrustStore) -> Coroutine[Any, Any, None]:
    return keep_fresh(source, store) if isinstance(source, BundleUrl) else follow(source, store)
