import json
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network

import anyio
import pytest

from broker.egress import Egress, Limits, Reach
from broker.errors import EgressDenied, ProofUntrusted, Refusal, UpstreamFailed, UpstreamMalformed
from broker.identity import KeySetKeeper, KeySetUrl, TrustStore
from broker.identity.issuer_keys import fetch_key_set
from broker.testing.certificates import CertificateAuthority, ServerCertificate
from tests.support.issuers import key_set
from tests.support.low_upstream import Exchange, Script, Upstream, serving

pytestmark = pytest.mark.anyio

DISCOVERY = "/tenant/.well-known/openid-configuration"
Source = Callable[..., KeySetUrl]


@pytest.fixture
def source(authority: CertificateAuthority, egress: Egress) -> Source:
    """Name a service as an OIDC issuer."""
    trust = authority.certificate_file.read_text()

    def make(upstream: Upstream, url: str | None = None, stale_after: float = 0.2) -> KeySetUrl:
        reach = Reach(frozenset({upstream.host}), (ip_network("127.0.0.0/8"),))
        client = egress.client(reach, Limits(connect_seconds=1, total_seconds=1), trust)
        return KeySetUrl(f"{upstream.url}/tenant", url, client, stale_after)

    return make


@pytest.fixture
async def keeper() -> AsyncIterator[tuple[KeySetKeeper, TrustStore]]:
    """Keep key sets in a store of their own."""
    store = TrustStore()
    keeper = KeySetKeeper(store)
    yield keeper, store
    await keeper.close()


class Provider:
    """An OIDC provider: its discovery document, and keys that it rotates."""

    def __init__(self) -> None:
        self.keys = key_set("1")
        self.up = True
        self.document: dict[str, object] = {}

    def serves(self, upstream: Callable[[], Upstream]) -> Script:
        """Return what answers its requests."""

        async def script(exchange: Exchange) -> None:
            url = upstream().url
            if not self.up:
                await exchange.answer(503, b"down")
            elif exchange.target == DISCOVERY:
                document = {"issuer": f"{url}/tenant", "jwks_uri": f"{url}/keys", **self.document}
                await exchange.answer(200, json.dumps(document).encode())
            else:
                await exchange.answer(200 if exchange.target == "/keys" else 404, self.keys)

        return script


@pytest.fixture
async def provided(certificate: ServerCertificate) -> AsyncIterator[tuple[Provider, Upstream]]:
    """Serve a provider."""
    provider = Provider()
    found: list[Upstream] = []
    async with serving(certificate, provider.serves(lambda: found[0])) as upstream:
        found.append(upstream)
        yield provider, upstream


def names(store: TrustStore, issuer: str) -> set[str]:
    """Return the names of the keys that are trusted now."""
    try:
        return set(store.bundle(issuer, time.time()).keys)
    except ProofUntrusted:
        return set()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - a trust store tells nobody
            await anyio.sleep(0.005)


async def test_keys_are_found_by_discovery_kept_fresh_and_dropped_when_stale(
    provided: tuple[Provider, Upstream], source: Source, keeper: tuple[KeySetKeeper, TrustStore]
) -> None:
    """Issue 4: any OIDC issuer, discovery and JWKS through egress, kept fresh; stale ones stop being trusted."""
    provider, upstream = provided
    found = source(upstream)

    keeper[0].keep([found])
    await until(lambda: names(keeper[1], found.issuer) == {"P-256/1"})
    provider.keys = key_set("1", "2")
    await until(lambda: names(keeper[1], found.issuer) == {"P-256/1", "P-256/2"})
    provider.up = False
    await until(lambda: names(keeper[1], found.issuer) == set())

    assert [exchange.target for exchange in upstream.received][:2] == [DISCOVERY, "/keys"]


async def test_an_unknown_key_is_looked_for_before_the_time_has_come(
    provided: tuple[Provider, Upstream],
    source: Source,
    keeper: tuple[KeySetKeeper, TrustStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Issuers rotate keys without a hint; strangers who name keys cause one request in a while, and no more."""
    monkeypatch.setattr("broker.identity.issuer_keys._SOONEST", 0.05)
    provider, upstream = provided
    found = source(upstream, stale_after=3600)
    keeper[0].keep([found])
    await until(lambda: names(keeper[1], found.issuer) == {"P-256/1"})
    provider.keys = key_set("2")

    for _ in range(100):
        keeper[0].unknown_key(found.issuer)
    keeper[0].unknown_key("https://nobody.example.com")

    await until(lambda: names(keeper[1], found.issuer) == {"P-256/2"})
    assert len(upstream.received) == 4


async def test_a_named_key_set_needs_no_discovery(provided: tuple[Provider, Upstream], source: Source) -> None:
    """A cluster whose API server does not let strangers discover."""
    _, upstream = provided

    keys = await fetch_key_set(source(upstream, f"{upstream.url}/keys"))

    assert set(keys.keys) == {"P-256/1"}
    assert [exchange.target for exchange in upstream.received] == ["/keys"]


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"issuer": "https://other.example.com"}, UpstreamMalformed),  # OIDC Discovery §4.3
        ({"issuer": None}, UpstreamMalformed),
        ({"jwks_uri": None}, UpstreamMalformed),
        ({"jwks_uri": ["x"]}, UpstreamMalformed),
        ({"jwks_uri": "https://keys.example.com/keys"}, EgressDenied),
        ({"jwks_uri": "http://127.0.0.1/keys"}, EgressDenied),
        ({"jwks_uri": "file:///etc/passwd"}, EgressDenied),
    ],
)
async def test_a_discovery_document_leads_nowhere_else(
    provided: tuple[Provider, Upstream], source: Source, document: dict[str, object], kind: type[Refusal]
) -> None:
    """SSRF by metadata: keys come from the issuer's own host, or from one that the document names."""
    provided[0].document = document

    with pytest.raises(kind):
        await fetch_key_set(source(provided[1]))


async def test_an_error_page_is_no_key_set(provided: tuple[Provider, Upstream], source: Source) -> None:
    """What cannot be had is not 'no keys'."""
    provider, upstream = provided
    with pytest.raises(UpstreamFailed):
        await fetch_key_set(source(upstream, f"{upstream.url}/elsewhere"))
    provider.keys = b"<html>"
    with pytest.raises(UpstreamMalformed):
        await fetch_key_set(source(upstream))


async def test_an_issuer_that_is_no_longer_configured_is_forgotten(
    provided: tuple[Provider, Upstream], source: Source, keeper: tuple[KeySetKeeper, TrustStore]
) -> None:
    """A new source begins with nothing of the old one's."""
    found = source(provided[1], stale_after=3600)
    keeper[0].keep([found])
    await until(lambda: names(keeper[1], found.issuer) == {"P-256/1"})
    provided[0].up = False

    keeper[0].keep([source(provided[1], f"{provided[1].url}/keys", 3600)])

    assert names(keeper[1], found.issuer) == set()
