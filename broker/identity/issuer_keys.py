"""The keys of OIDC issuers, found by discovery and kept fresh, as trust bundles are."""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass

from broker.egress import Client, Dispatch
from broker.errors import InternalError, Refusal, UpstreamFailed, UpstreamMalformed
from broker.identity.bundle import TrustBundle
from broker.identity.jwks import parse_key_set
from broker.identity.store import TrustStore

logger = logging.getLogger(__name__)

_DISCOVERY = "/.well-known/openid-configuration"  # OpenID Connect Discovery §4
_REFRESH = 300.0  # seconds
_SOONEST = 10.0  # seconds between two requests, whatever unknown keys are named: strangers can name any
_FIRST_RETRY = 1.0
_OK = 200


@dataclass(frozen=True, slots=True)
class KeySetUrl:
    """Where one issuer's keys are fetched (by discovery, if there is no URL), and how long they are then trusted."""

    issuer: str
    url: str | None
    client: Client
    stale_after: float


class KeySetKeeper:
    """Keeps the key sets of a changing set of issuers fresh in a trust store of their own."""

    def __init__(self, store: TrustStore) -> None:
        self._store = store
        self._tasks: dict[KeySetUrl, asyncio.Task[None]] = {}
        self._wanted: dict[str, asyncio.Event] = {}

    def keep(self, sources: list[KeySetUrl]) -> None:
        """Fetch these from now on, and no others; where a source is new, what another said is forgotten at once."""
        for gone in self._tasks.keys() - set(sources):
            self._tasks.pop(gone).cancel()
        for source in sources:
            if source not in self._tasks:
                self._store.forget(source.issuer)
                wanted = self._wanted[source.issuer] = asyncio.Event()
                self._tasks[source] = asyncio.create_task(self._keep_fresh(source, wanted))

    def unknown_key(self, issuer: str) -> None:
        """Fetch an issuer's keys soon: a token names one that is not known, or that did not sign it."""
        if issuer in self._wanted:
            self._wanted[issuer].set()

    async def close(self) -> None:
        """Stop fetching."""
        tasks = list(self._tasks.values())
        self.keep([])
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_fresh(self, source: KeySetUrl, wanted: asyncio.Event) -> None:
        retry = _FIRST_RETRY
        while True:
            wanted.clear()
            try:
                keys = await fetch_key_set(source)
            except Exception as error:  # noqa: BLE001 - a keeper that died would leave old keys in force
                code = error.code if isinstance(error, Refusal) else InternalError.code
                logger.warning("an issuer's keys could not be fetched", extra={"issuer": source.issuer, "code": code})
                await asyncio.sleep(retry)
                retry = min(retry * 2, _refresh_seconds(source))
                continue
            self._store.put(keys, stale_after=time.time() + source.stale_after)
            retry = _FIRST_RETRY
            await asyncio.sleep(min(_SOONEST, _refresh_seconds(source)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, _refresh_seconds(source) - _SOONEST)):
                    await wanted.wait()


def _refresh_seconds(source: KeySetUrl) -> float:
    return min(_REFRESH, source.stale_after / 2)


async def fetch_key_set(source: KeySetUrl) -> TrustBundle:
    """Fetch an issuer's keys once; raise a `Refusal` if they cannot be had."""
    url = source.url or await _discover(source)
    body = await _get(source.client, url)
    try:
        return parse_key_set(source.issuer, body, fetched_at=time.time())
    except ValueError as error:
        raise UpstreamMalformed(detail=str(error)) from None


async def _discover(source: KeySetUrl) -> str:
    response = await source.client.send(
        "GET", source.issuer.rstrip("/") + _DISCOVERY, {"Accept": "application/json"}, None, Dispatch()
    )
    if response.status != _OK:
        raise UpstreamFailed(detail=f"discovery: HTTP {response.status}")
    document = response.json()
    url = document.get("jwks_uri") if isinstance(document, dict) else None
    if not isinstance(url, str) or document.get("issuer") != source.issuer:  # §4.3: exactly the one that was asked
        raise UpstreamMalformed(detail="the discovery document is another issuer's, or names no keys")
    return url


async def _get(client: Client, url: str) -> bytes:
    response = await client.send("GET", url, {"Accept": "application/json"}, None, Dispatch())
    if response.status != _OK:
        raise UpstreamFailed(detail=f"key set: HTTP {response.status}")
    return response.body
