import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network

import anyio
import pytest

from broker.egress import Egress, Limits, Reach
from broker.errors import ProofUntrusted, UpstreamMalformed
from broker.identity import BundleKeeper, BundleUrl, TrustStore, parse_bundle
from broker.identity.fetch import _refresh_seconds, fetch_bundle
from broker.testing.certificates import CertificateAuthority, ServerCertificate
from tests.support.low_issuer import DOMAIN, bundle, entry
from tests.support.low_upstream import Exchange, Upstream, serving

pytestmark = pytest.mark.anyio

Source = Callable[..., BundleUrl]
OFTEN = 0.6  # seconds after which a bundle is stale: it is asked for twice as often


@pytest.fixture
async def source(authority: CertificateAuthority) -> AsyncIterator[Source]:
    """Name a service as the source of the trust domain's bundle."""
    egress = Egress()
    trust = authority.certificate_file.read_text()

    def make(upstream: Upstream, path: str = "/bundle", stale_after: float = OFTEN) -> BundleUrl:
        reach = Reach(frozenset({upstream.host}), (ip_network("127.0.0.0/8"),))
        client = egress.client(reach, Limits(connect_seconds=1, total_seconds=1), trust)
        return BundleUrl(DOMAIN, upstream.url + path, client, stale_after)

    yield make
    await egress.close()


@pytest.fixture
async def keeper() -> AsyncIterator[tuple[BundleKeeper, TrustStore]]:
    """Keep bundles in a store of their own."""
    store = TrustStore()
    keeper = BundleKeeper(store)
    yield keeper, store
    await keeper.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - a trust store tells nobody
            await anyio.sleep(0.005)


def names(store: TrustStore) -> set[str]:
    """Return the names of the keys that are trusted now."""
    try:
        return set(store.bundle(DOMAIN, time.time()).keys)
    except ProofUntrusted:
        return set()


async def test_a_bundle_is_fetched_and_kept_fresh(
    certificate: ServerCertificate, source: Source, keeper: tuple[BundleKeeper, TrustStore]
) -> None:
    """Issue 2, Identity: a trust bundle from an https URL, with refresh and rotation."""

    async def script(exchange: Exchange) -> None:
        turn = len(upstream.received)
        await exchange.answer(200, bundle(entry("P-256", str(min(turn, 3))), spiffe_sequence=turn))

    async with serving(certificate, script) as upstream:
        keeper[0].keep([source(upstream)])
        await until(lambda: names(keeper[1]) == {"P-256/1"})
        await until(lambda: names(keeper[1]) == {"P-256/3"})

    assert upstream.received[0].headers["accept"] == "application/json"
    assert "authorization" not in upstream.received[0].headers


async def test_a_source_that_fails_leaves_the_last_good_bundle_until_it_is_stale(
    certificate: ServerCertificate,
    source: Source,
    keeper: tuple[BundleKeeper, TrustStore],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """identity.md A1.4: on failure keep serving the cached copy, but alarm, and stop trusting it in the end."""

    async def script(exchange: Exchange) -> None:
        first = len(upstream.received) == 1
        await exchange.answer(200 if first else 503, bundle(entry("P-256")) if first else b"down")

    async with serving(certificate, script) as upstream:
        keeper[0].keep([source(upstream)])
        await until(lambda: len(upstream.received) == 2)
        trusted_meanwhile = names(keeper[1])
        await until(lambda: names(keeper[1]) == set())

    assert trusted_meanwhile == {"P-256/1"}
    assert {(record.levelno, vars(record)["code"]) for record in caplog.records} == {
        (logging.WARNING, "upstream_failed")
    }


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b'{"keys": {}}', b'{"keys": [], "keys": []}', b"\xff", b"[" * 50_000]
)
async def test_an_answer_that_is_no_bundle_is_an_error(
    certificate: ServerCertificate, source: Source, body: bytes
) -> None:
    """Bundle §4.1: 'everything is revoked' must be said; an error page does not say it."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, body)

    async with serving(certificate, script) as upstream:
        with pytest.raises(UpstreamMalformed):
            await fetch_bundle(source(upstream), TrustStore())


async def test_an_empty_bundle_revokes_everything(
    certificate: ServerCertificate, source: Source, keeper: tuple[BundleKeeper, TrustStore]
) -> None:
    """Bundle §4.1.3: `keys: []` is a statement."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, bundle(entry("P-256")) if len(upstream.received) == 1 else bundle())

    async with serving(certificate, script) as upstream:
        keeper[0].keep([source(upstream, stale_after=0.5)])
        await until(lambda: names(keeper[1]) == {"P-256/1"})
        await until(lambda: names(keeper[1]) == set())

        found = keeper[1].find(DOMAIN)

    assert found is not None
    assert found.keys == {}


async def test_an_old_copy_is_refused_and_said_so(
    certificate: ServerCertificate,
    source: Source,
    keeper: tuple[BundleKeeper, TrustStore],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """identity.md A1.4: refuse a lower sequence, or a stale cache brings a revoked key back."""

    async def script(exchange: Exchange) -> None:
        first = len(upstream.received) == 1
        await exchange.answer(200, bundle(entry("P-256", "2" if first else "1"), spiffe_sequence=7 if first else 6))

    async with serving(certificate, script) as upstream:
        keeper[0].keep([source(upstream, stale_after=0.5)])
        await until(lambda: bool(caplog.records))

        assert names(keeper[1]) == {"P-256/2"}
    assert caplog.messages == ["a trust bundle older than the one in force was refused"]


async def test_a_redirect_is_not_a_bundle(
    certificate: ServerCertificate, source: Source, keeper: tuple[BundleKeeper, TrustStore]
) -> None:
    """Issue 2, Egress: redirects off; whoever answers for the URL cannot send us elsewhere for keys."""

    async def script(exchange: Exchange) -> None:
        if exchange.target == "/bundle":
            await exchange.answer(302, b"", {"Location": f"{upstream.url}/keys"})
        else:
            await exchange.answer(200, bundle(entry("P-256")))

    async with serving(certificate, script) as upstream:
        keeper[0].keep([source(upstream, stale_after=0.5)])
        await until(lambda: len(upstream.received) >= 1)

    assert {exchange.target for exchange in upstream.received} == {"/bundle"}
    assert names(keeper[1]) == set()


async def test_a_failure_that_nobody_foresaw_does_not_end_the_keeping(
    certificate: ServerCertificate,
    source: Source,
    keeper: tuple[BundleKeeper, TrustStore],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """house-style.md: fail closed; a task that died would leave keys in force that nobody renews or revokes."""

    def broken(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise RuntimeError

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, bundle(entry("P-256")))

    monkeypatch.setattr("broker.identity.fetch.parse_bundle", broken)
    monkeypatch.setattr("broker.identity.fetch._FIRST_RETRY", 0.01)
    async with serving(certificate, script) as upstream:
        keeper[0].keep([source(upstream)])
        await until(lambda: names(keeper[1]) == {"P-256/1"})

    assert vars(caplog.records[0])["code"] == "internal_error"


async def test_a_new_source_does_not_inherit_the_keys_of_the_old_one(
    certificate: ServerCertificate, source: Source, keeper: tuple[BundleKeeper, TrustStore]
) -> None:
    """Issue 2, Identity: who points a trust domain elsewhere has a reason; a lower sequence there is its own."""

    async def script(exchange: Exchange) -> None:
        if exchange.target == "/old":
            await exchange.answer(200, bundle(entry("P-256", "1"), spiffe_sequence=100))
        else:
            await answer_now.wait()
            await exchange.answer(200, bundle(entry("P-256", "2"), spiffe_sequence=1))

    answer_now = asyncio.Event()
    async with serving(certificate, script) as upstream:
        keeper[0].keep([source(upstream, "/old", 60)])
        await until(lambda: names(keeper[1]) == {"P-256/1"})

        keeper[0].keep([source(upstream, "/new", 60)])
        meanwhile = names(keeper[1])
        answer_now.set()
        await until(lambda: names(keeper[1]) == {"P-256/2"})

    assert meanwhile == set()


async def test_a_source_that_stays_is_not_asked_again(
    certificate: ServerCertificate, source: Source, keeper: tuple[BundleKeeper, TrustStore]
) -> None:
    """Issue 2, Documents: a reload of documents that changes nothing leaves the trust as it is."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, bundle(entry("P-256")))

    async with serving(certificate, script) as upstream:
        same = source(upstream, stale_after=60)
        keeper[0].keep([same])
        await until(lambda: names(keeper[1]) == {"P-256/1"})

        keeper[0].keep([same])

        assert names(keeper[1]) == {"P-256/1"}
    assert len(upstream.received) == 1


async def test_a_source_that_is_gone_is_asked_no_more(
    certificate: ServerCertificate, source: Source, keeper: tuple[BundleKeeper, TrustStore]
) -> None:
    """Issue 2, Documents: a trust domain that is taken away takes its fetching along."""

    async def script(exchange: Exchange) -> None:
        await exchange.until_the_client_leaves()
        left.set()

    left = asyncio.Event()
    async with serving(certificate, script) as upstream:
        keeper[0].keep([source(upstream)])
        with anyio.fail_after(30):
            await upstream.arrived.wait()
            keeper[0].keep([])
            await left.wait()

    assert names(keeper[1]) == set()


@pytest.mark.parametrize(
    ("hint", "stale_after", "seconds"),
    [
        (None, 86_400, 300),
        (60, 86_400, 60),
        (0, 86_400, 300),
        (1, 86_400, 5),
        (10**30, 86_400, 3600),
        (3600, 1800, 900),
        (None, 60, 30),
    ],
)
async def test_a_bundle_is_renewed_when_it_hints_and_before_it_is_stale(
    source: Source, hint: int | None, stale_after: float, seconds: float
) -> None:
    """identity.md A1.4: poll at the hint, 300 s without one; no hint floods the endpoint or outlives the trust."""
    parsed = parse_bundle(DOMAIN, bundle(spiffe_refresh_hint=hint))

    assert _refresh_seconds(parsed.refresh_hint, source(Upstream("https://x"), stale_after=stale_after)) == seconds
