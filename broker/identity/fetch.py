"""Trust bundles from https URLs (SPIFFE_Federation §5.2), kept fresh.

Who answers is authenticated by Web PKI (`https_web`), or by an X.509-SVID of a known SPIFFE ID (`https_spiffe`).
"""

import asyncio
import logging
import time
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from broker.egress import Client, Dispatch
from broker.errors import EgressDenied, InternalError, Refusal, UpstreamFailed, UpstreamMalformed
from broker.identity.authorities import load_certificate
from broker.identity.bundle import TrustBundle, parse_bundle
from broker.identity.certificate import subject_of
from broker.identity.store import TrustStore
from broker.identity.workload import SpiffeId

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
    server: "BundleServer | None" = None


@dataclass(frozen=True, slots=True)
class BundleServer:
    """Who must answer, by the `https_spiffe` profile, and the authorities to believe in before any are in force."""

    spiffe_id: str
    bootstrap: tuple[x509.Certificate, ...]

    def authorities(self, store: TrustStore) -> tuple[x509.Certificate, ...]:
        """Return the authorities of the server's own trust domain: what is in force of it, or the bootstrap's."""
        known = store.find(SpiffeId.parse(self.spiffe_id).trust_domain)
        return self.bootstrap if known is None else known.authorities

    def check(self, leaf: bytes) -> None:
        """Raise `EgressDenied` if a certificate, whose path TLS has validated, is not the server's X.509-SVID."""
        try:
            found = str(subject_of(load_certificate(leaf), server=True))
        except ValueError as error:
            raise EgressDenied(detail=f"bundle endpoint: {error}") from None
        if found != self.spiffe_id:
            raise EgressDenied(detail=f"the bundle endpoint is {found}, not {self.spiffe_id}"[:500])


async def keep_fresh(source: BundleUrl, store: TrustStore) -> None:
    """Fetch a bundle for ever, whenever it is due."""
    retry = _FIRST_RETRY
    while True:
        try:
            bundle = await fetch_bundle(source, store)
        except Exception as error:  # noqa: BLE001 - a keeper that died would leave old keys in force
            code = error.code if isinstance(error, Refusal) else InternalError.code
            logger.warning(
                "a trust bundle could not be fetched", extra={"trust_domain": source.trust_domain, "code": code}
            )
            await asyncio.sleep(retry)
            retry = min(retry * 2, _refresh_seconds(None, source))
            continue
        if not store.put(bundle, stale_after=time.time() + source.stale_after):
            logger.warning(
                "a trust bundle older than the one in force was refused", extra={"trust_domain": source.trust_domain}
            )
        retry = _FIRST_RETRY
        await asyncio.sleep(_refresh_seconds(bundle.refresh_hint, source))


def _refresh_seconds(hint: float | None, source: BundleUrl) -> float:
    """Return when to ask again: as the bundle hints, and before it is too old to be trusted."""
    wanted = min(max(hint or _DEFAULT_REFRESH, _SHORTEST_REFRESH), _LONGEST_REFRESH)
    return min(wanted, source.stale_after / 2)


async def fetch_bundle(source: BundleUrl, store: TrustStore) -> TrustBundle:
    """Fetch a bundle once; raise a `Refusal` if it cannot be had."""
    headers = {"Accept": "application/json"}
    if source.server is None:
        response = await source.client.send("GET", source.url, headers, None, Dispatch())
    else:
        authorities = [one.public_bytes(Encoding.PEM).decode() for one in source.server.authorities(store)]
        async with source.client.pinned("".join(authorities), source.server.check) as client:
            response = await client.send("GET", source.url, headers, None, Dispatch())
    if response.status != _OK:
        raise UpstreamFailed(detail=f"bundle endpoint: HTTP {response.status}")
    try:
        return parse_bundle(source.trust_domain, response.body, fetched_at=time.time())
    except ValueError as error:
        raise UpstreamMalformed(detail=str(error)) from None
