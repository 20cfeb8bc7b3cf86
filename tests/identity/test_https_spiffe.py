"""Bundle endpoints that are authenticated by an X.509-SVID (SPIFFE_Federation §5.2.2, the `https_spiffe` profile)."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.egress import Egress, Limits, Reach
from broker.errors import EgressDenied, ProofUntrusted, Refusal, UpstreamUnreachable
from broker.identity import BundleKeeper, BundleServer, BundleUrl, TrustStore, parse_bundle
from broker.identity.fetch import fetch_bundle
from broker.testing.certificates import CertificateAuthority, ServerCertificate
from tests.support.low_issuer import DOMAIN, NOW, bundle, entry
from tests.support.low_upstream import Exchange, Upstream, serving
from tests.support.low_x509 import Authority, Svid

pytestmark = pytest.mark.anyio

SERVER = f"spiffe://{DOMAIN}/spire/server"
FIRST, SECOND = Authority(), Authority()
Make = Callable[..., BundleUrl]


@pytest.fixture
async def source() -> AsyncIterator[Make]:
    """Name a service as the source of the trust domain's bundle, with FIRST to believe at first."""
    egress = Egress()

    def make(
        upstream: Upstream, server: str = SERVER, bootstrap: Any = (FIRST.certificate,), stale_after: float = 0.2
    ) -> BundleUrl:
        reach = Reach(frozenset({upstream.host}), (ip_network("127.0.0.0/8"),))
        client = egress.client(reach, Limits(connect_seconds=2, total_seconds=2))
        return BundleUrl(DOMAIN, f"{upstream.url}/bundle", client, stale_after, BundleServer(server, tuple(bootstrap)))

    yield make
    await egress.close()


def shown(svid: Svid, place: Path) -> ServerCertificate:
    """Return what a service shows that holds an SVID."""
    return ServerCertificate(*svid.write(place, f"svid-{id(svid)}"))


async def script(exchange: Exchange) -> None:
    """Publish a bundle with FIRST."""
    await exchange.answer(200, bundle(entry("P-256"), FIRST.entry, spiffe_sequence=1))


async def refusal_of(source: BundleUrl, store: TrustStore | None = None) -> Refusal:
    """Return how fetching is refused."""
    with pytest.raises(Refusal) as refusal:
        await fetch_bundle(source, store or TrustStore())
    return refusal.value


async def test_a_bundle_is_fetched_from_the_server_of_that_spiffe_id(source: Make, tmp_path: Path) -> None:
    """SPIFFE_Federation §5.2.2: by its X.509-SVID and no host name; the bundle has both kinds of keys."""
    async with serving(shown(FIRST.issue(SERVER), tmp_path), script) as upstream:
        fetched = await fetch_bundle(source(upstream), TrustStore())

    assert set(fetched.keys) == {"P-256/1"}
    assert fetched.authorities == (FIRST.certificate,)


async def test_an_intermediates_server_is_believed_with_its_chain(source: Make, tmp_path: Path) -> None:
    """X509-SVID §5.1."""
    svid = Authority(above=FIRST).issue(SERVER)

    async with serving(shown(svid, tmp_path), script) as upstream:
        assert (await fetch_bundle(source(upstream), TrustStore())).keys


@pytest.mark.parametrize(
    ("svid", "kind"),
    [
        pytest.param(lambda: Authority().issue(SERVER), UpstreamUnreachable, id="XV-5-client"),
        pytest.param(lambda: FIRST.issue(SERVER, since=NOW - 90, until=NOW - 5), UpstreamUnreachable, id="XV-6-client"),
        pytest.param(
            lambda: FIRST.issue(SERVER, since=NOW + 36_000, until=NOW + 72_000), UpstreamUnreachable, id="XV-7-client"
        ),
        pytest.param(lambda: FIRST.issue(SERVER, ca=True), EgressDenied, id="XV-8-client"),
        pytest.param(
            lambda: FIRST.issue(SERVER, use=("digital_signature", "key_cert_sign")), EgressDenied, id="XV-9-client"
        ),
        pytest.param(
            lambda: FIRST.issue(SERVER, use=("digital_signature", "crl_sign")), EgressDenied, id="XV-10-client"
        ),
        pytest.param(lambda: FIRST.issue(SERVER, f"spiffe://{DOMAIN}/x"), EgressDenied, id="XV-11-client"),
        pytest.param(lambda: FIRST.issue(names=False), EgressDenied, id="XV-12-client"),
        pytest.param(lambda: FIRST.issue("https://127.0.0.1/spire/server"), EgressDenied, id="XV-13-client"),
        pytest.param(lambda: FIRST.issue(f"spiffe://{DOMAIN}"), EgressDenied, id="XV-14-client"),
        pytest.param(lambda: FIRST.issue(f"spiffe://{DOMAIN}/agent/analyst"), EgressDenied, id="another-workload"),
        pytest.param(lambda: FIRST.issue("spiffe://other.example/spire/server"), EgressDenied, id="XV-15-client"),
        pytest.param(
            lambda: FIRST.issue(SERVER, purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
            UpstreamUnreachable,
            id="no-server",
        ),
    ],
)
async def test_anybody_elses_certificate_is_refused_before_anything_is_sent(
    source: Make, tmp_path: Path, svid: Callable[[], Svid], kind: type[Refusal]
) -> None:
    """SPIFFE_Federation §5.2.2: the server is who the operator named, by X509-SVID §5 in the client's role."""
    async with serving(shown(FIRST.issue(SERVER), tmp_path), script) as good:
        assert (await fetch_bundle(source(good), TrustStore())).keys

    async with serving(shown(svid(), tmp_path), script) as bad:
        refusal = await refusal_of(source(bad))

    assert type(refusal) is kind
    assert not bad.received


async def test_web_pki_is_not_enough(
    source: Make, authority: CertificateAuthority, certificate: ServerCertificate
) -> None:
    """SPIFFE_Federation §5.2.2: a host name proves nothing here, whoever certifies it."""
    async with serving(certificate, script) as upstream:
        assert (await refusal_of(source(upstream))).code == "upstream_unreachable"

    assert authority.certificate_file.exists()


async def test_what_was_fetched_is_believed_from_then_on_and_the_bootstrap_no_longer(
    source: Make, tmp_path: Path
) -> None:
    """SPIFFE_Federation §5.2.2: a rotation of the server's own authority; the old one cannot bring old keys back."""
    store = TrustStore()
    store.put(parse_bundle(DOMAIN, bundle(entry("P-256"), SECOND.entry, spiffe_sequence=2)))

    async with serving(shown(SECOND.issue(SERVER), tmp_path), script) as rotated:
        assert (await fetch_bundle(source(rotated), store)).keys
    async with serving(shown(FIRST.issue(SERVER), tmp_path), script) as old:
        assert (await refusal_of(source(old), store)).code == "upstream_unreachable"


async def test_a_server_of_another_trust_domain_is_believed_by_that_domains_bundle(
    source: Make, tmp_path: Path
) -> None:
    """SPIFFE_Federation §5.2.2: the endpoint's own trust domain says who it is, not the one that is fetched."""
    other = Authority("hub.example.org")
    server = "spiffe://hub.example.org/bundles"

    async with serving(shown(other.issue(server), tmp_path), script) as upstream:
        fetched = await fetch_bundle(source(upstream, server, (other.certificate,)), TrustStore())
        refused = await refusal_of(source(upstream, server))

    assert fetched.trust_domain == DOMAIN
    assert refused.code == "upstream_unreachable"


async def test_nobody_is_believed_by_an_empty_bundle(source: Make, tmp_path: Path) -> None:
    """Bundle §4.1.3: no authority means that nobody is trusted, and never that the system's are."""
    async with serving(shown(FIRST.issue(SERVER), tmp_path), script) as upstream:
        assert (await refusal_of(source(upstream, bootstrap=()))).code == "upstream_unreachable"


async def test_the_bundle_is_kept_fresh_and_one_that_cannot_be_renewed_is_dropped(
    source: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Issue 4, SPIFFE: https_spiffe is refreshed like https_web; stale bundles stop being trusted."""
    caplog.set_level(logging.CRITICAL)
    store = TrustStore()
    keeper = BundleKeeper(store)

    def trusted() -> bool:
        try:
            return bool(store.bundle(DOMAIN, time.time()).keys)
        except ProofUntrusted:
            return False

    async with serving(shown(FIRST.issue(SERVER), tmp_path), script) as upstream:
        keeper.keep([source(upstream)])
        await until(lambda: len(upstream.received) > 1 and trusted())

    await until(lambda: not trusted())
    await keeper.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - a trust store tells nobody
            await asyncio.sleep(0.005)
