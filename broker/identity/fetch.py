"""Trust bundles from https URLs (the `https_web` profile, SPIFFE_Federation §5.2.1), kept fresh."""

import asyncio
import logging
import time
from dataclasses import dataclass

from broker.egress import Client, Dispatch
from broker.errors import InternalError, Refusal, UpstreamFailed, UpstreamMalformed
from broker.identity.bundle import TrustBundle, TrustStore, parse_bundle

logger = logging.getLogger(__name__)

_DEFAULT_REFRESH = 300.0  # seconds; SPIFFE_Trust_Domain_and_Bundle §4.1.4 when there is no hint
_SHORTEST_REFRESH, _LONGEST_REFRESH = 5.0, 3600.0  # whatever the hint says: neither flood the endpoint nor forget it
_FIRST_RETRY = 1.0
_OK = 200


@dataclass(frozen=True, slots=True)
class BundleUrl:
    """Where one trust domain's bundle is fetched, and for how many seconds a bundle is trusted without renewal."""

    trust_domain: str
    url: str
    client: Client
    stale_after: float


class BundleKeeper:
    """Keeps the bundles of a changing set of URLs fresh in a trust store."""

    def __init__(self, store: TrustStore) -> None:
        self._store = store
        self._tasks: dict[BundleUrl, asyncio.Task[None]] = {}

    def keep(self, sources: list[BundleUrl]) -> None:
        """Fetch these from now on, and no others.

        Where a source is new, what another one said of its trust domain is forgotten at once.
        """
        for gone in self._tasks.keys() - set(sources):
            self._tasks.pop(gone).cancel()
        for source in sources:
            if source not in self._tasks:
                self._store.forget(source.trust_domain)
                self._tasks[source] = asyncio.create_task(self._keep_fresh(source))

    async def close(self) -> None:
        """Stop fetching."""
        tasks = list(self._tasks.values())
        self.keep([])
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_fresh(self, source: BundleUrl) -> None:
        retry = _FIRST_RETRY
        while True:
            try:
                bundle = await fetch_bundle(source)
            except Exception as error:  # noqa: BLE001 - a keeper that died would leave old keys in force
                code = error.code if isinstance(error, Refusal) else InternalError.code
                logger.warning(
                    "a trust bundle could not be fetched", extra={"trust_domain": source.trust_domain, "code": code}
                )
                await asyncio.sleep(retry)
                retry = min(retry * 2, _refresh_seconds(None, source))
                continue
            if not self._store.put(bundle, stale_after=time.time() + source.stale_after):
                logger.warning(
                    "a trust bundle older than the one in force was refused",
                    extra={"trust_domain": source.trust_domain},
                )
            retry = _FIRST_RETRY
            await asyncio.sleep(_refresh_seconds(bundle.refresh_hint, source))


def _refresh_seconds(hint: float | None, source: BundleUrl) -> float:
    """Return when to ask again: as the bundle hints, and before it is too old to be trusted."""
    wanted = min(max(hint or _DEFAULT_REFRESH, _SHORTEST_REFRESH), _LONGEST_REFRESH)
    return min(wanted, source.stale_after / 2)


async def fetch_bundle(source: BundleUrl) -> TrustBundle:
    """Fetch a bundle once; raise a `Refusal` if it cannot be had."""
    response = await source.client.send("GET", source.url, {"Accept": "application/json"}, None, Dispatch())
    if response.status != _OK:
        raise UpstreamFailed(detail=f"bundle endpoint: HTTP {response.status}")
    try:
        return parse_bundle(source.trust_domain, response.body, fetched_at=time.time())
    except ValueError as error:
        raise UpstreamMalformed(detail=str(error)) from None
