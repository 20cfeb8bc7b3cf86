"""Trust bundles streamed from the Workload API, by the public catalogue (EP, WA, XS-4 and -5, JB, XF-3)."""

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from broker.errors import ProofUntrusted, Unauthenticated
from broker.identity import BundleKeeper, Endpoint, TrustDomain, TrustStore, WorkloadApi
from broker.identity.certificate import CertificateVerifier
from broker.identity.svid import SvidVerifier
from tests.support.low_issuer import AUDIENCE, DOMAIN, NOW, WORKLOAD, bundle, claims, entry, header, key, token
from tests.support.low_x509 import Authority, Svid
from tests.support.workload_api import WorkloadApiServer

pytestmark = pytest.mark.anyio

OTHER = "other.example.org"
DAY = 86_400.0
FIRST, SECOND = Authority(), Authority()
DENIED = ["FetchJWTBundles PERMISSION_DENIED", "FetchX509Bundles PERMISSION_DENIED"]  # once each, whoever comes first


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WorkloadApiServer]:
    """Serve a Workload API on a Unix socket, with one key and one authority of the trust domain."""
    with WorkloadApiServer(tmp_path / "agent.sock") as server:
        server.agent.push({DOMAIN: jwks("1")}, {DOMAIN: der(FIRST)})
        yield server


class Trusting:
    """A trust store that follows Workload APIs, and verifiers that ask it."""

    def __init__(self) -> None:
        self.store = TrustStore()
        self.keeper = BundleKeeper(self.store)
        self.domains = {name: TrustDomain(name, "production") for name in (DOMAIN, OTHER)}
        self._tokens = SvidVerifier(AUDIENCE, self.store)
        self._certificates = CertificateVerifier(self.store)

    def follow(self, server: WorkloadApiServer, *domains: str, stale_after: float = DAY) -> None:
        """Take bundles from there."""
        endpoint = Endpoint.parse(server.endpoint)
        self.keeper.keep([WorkloadApi(name, endpoint, stale_after) for name in domains or (DOMAIN,)])

    def takes(self, proof: str | Svid, now: float = NOW) -> bool:
        """Tell whether a token or a certificate is accepted."""
        try:
            if isinstance(proof, Svid):
                self._certificates.verify(proof.chain, self.domains, now)
            else:
                self._tokens.verify(proof, self.domains, now)
        except Unauthenticated:
            return False
        return True

    async def until(self, *, takes: str | Svid) -> None:
        """Wait until it is accepted."""
        await until(lambda: self.takes(takes))


@pytest.fixture
async def trusting() -> AsyncIterator[Trusting]:
    """Trust nothing yet."""
    trusting = Trusting()
    yield trusting
    await trusting.keeper.close()


def jwks(*names: str) -> bytes:
    """Return keys as SPIRE's Workload API gives them: without `use`."""
    return bundle(*(entry("P-256", name, use=None) for name in names))


def der(*authorities: Authority) -> bytes:
    """Return authorities as the Workload API gives them, one behind the other."""
    return b"".join(authority.certificate.public_bytes(Encoding.DER) for authority in authorities)


def signed(name: str, workload: str = WORKLOAD) -> str:
    """Return a token by a key."""
    return token(header(name=name), claims(sub=workload), signer=key("P-256", name))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - a trust store tells nobody
            await anyio.sleep(0.005)


async def test_ep_1_and_2_bundles_come_from_the_endpoint_with_the_header_on_every_call(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """Workload Endpoint §3 and §4: both streams; the server refuses a call without the security header."""
    trusting.follow(server)

    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())

    assert set(server.agent.methods()) == {"FetchJWTBundles", "FetchX509Bundles"}
    assert all(call.metadata["workload.spiffe.io"] == "true" for call in server.agent.calls)
    assert {call.peer.pid for call in server.agent.calls if call.peer} == {os.getpid()}


async def test_ep_3_an_endpoint_may_be_a_tcp_port(trusting: Trusting) -> None:
    """Workload Endpoint §3: tcp://127.0.0.1:port."""
    with WorkloadApiServer() as server:
        assert server.endpoint.startswith("tcp://127.0.0.1:")
        server.agent.push({DOMAIN: jwks("1")})

        trusting.follow(server)

        await trusting.until(takes=signed("1"))


@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED", "INTERNAL", "RESOURCE_EXHAUSTED"])
async def test_ep_5_and_6_a_call_that_fails_is_made_again_after_a_while(
    server: WorkloadApiServer, trusting: Trusting, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workload Endpoint §6: with backoff, and never in a tight loop."""
    pauses: list[float] = []

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr("broker.identity.workload_api.sleep", noted)
    server.agent.failing += [code] * 6

    trusting.follow(server)
    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())

    assert len(pauses) == 6
    assert set(pauses) >= {0.2, 0.4, 0.8}


async def test_ep_7_a_call_that_is_wrong_is_not_made_again(
    server: WorkloadApiServer, trusting: Trusting, caplog: pytest.LogCaptureFixture
) -> None:
    """Workload Endpoint §6: after InvalidArgument a client does not ask again."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())

    server.agent.always = "INVALID_ARGUMENT"
    server.agent.end_streams()
    await until(lambda: all(task.done() for task in trusting.keeper._tasks.values()))

    assert sorted(server.agent.methods()) == ["FetchJWTBundles"] * 2 + ["FetchX509Bundles"] * 2
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 2


async def test_ep_8_an_agent_that_comes_later_is_found(tmp_path: Path, trusting: Trusting) -> None:
    """Workload Endpoint §6: the broker may start before the agent."""
    server = WorkloadApiServer(tmp_path / "agent.sock")
    endpoint = Endpoint.parse(f"unix://{tmp_path}/agent.sock")
    trusting.keeper.keep([WorkloadApi(DOMAIN, endpoint, DAY)])
    await anyio.lowlevel.checkpoint()

    with server:
        server.agent.push({DOMAIN: jwks("1")})

        await trusting.until(takes=signed("1"))


async def test_wa_1_a_stream_that_ends_is_opened_again_and_no_call_is_refused_meanwhile(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """Workload API §4.2: an agent that restarts; what it said last is trusted until it is back."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())

    refused: list[bool] = []
    trusting.store.on_change = lambda: refused.extend([True] * (not trusting.takes(signed("1"))))

    server.stop()
    server.start()
    server.agent.push({DOMAIN: jwks("1", "2")}, {DOMAIN: der(FIRST, SECOND)})

    await trusting.until(takes=signed("2"))
    await trusting.until(takes=SECOND.issue())
    assert not refused


async def test_jb_1_and_2_a_rotation_is_in_force_with_its_message(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """Workload API §4.3 and §4.4: a new key, then without the old one; no token of the new one is refused."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))

    server.agent.push({DOMAIN: jwks("1", "2")})
    await trusting.until(takes=signed("2"))
    assert trusting.takes(signed("1"))

    server.agent.push({DOMAIN: jwks("2")})
    await until(lambda: not trusting.takes(signed("1")))
    assert trusting.takes(signed("2"))


async def test_xs_4_and_5_authorities_come_and_go_with_the_stream(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """Workload API §5.1: several certificates one behind the other, each trusted; one that is gone is not."""
    first, second = FIRST.issue(), SECOND.issue()
    server.agent.push(None, {DOMAIN: der(FIRST, SECOND)})
    trusting.follow(server)
    await trusting.until(takes=first)
    assert trusting.takes(second)

    server.agent.push(None, {DOMAIN: der(FIRST)})

    await until(lambda: not trusting.takes(second))
    assert trusting.takes(first)


async def test_jb_3_and_xf_3_a_trust_domain_that_a_message_leaves_out_is_withdrawn(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """Workload API §4.4: each message is complete; the domain goes with both of its kinds of keys."""
    other = Authority(OTHER)
    of_other = other.issue(f"spiffe://{OTHER}/x")
    server.agent.push({DOMAIN: jwks("1"), OTHER: jwks("2")}, {DOMAIN: der(FIRST), OTHER: der(other)})
    trusting.follow(server, DOMAIN, OTHER)
    await trusting.until(takes=signed("2", f"spiffe://{OTHER}/x"))
    await trusting.until(takes=of_other)
    await trusting.until(takes=signed("1"))

    server.agent.push({DOMAIN: jwks("1")}, {DOMAIN: der(FIRST)})

    await until(lambda: not trusting.takes(signed("2", f"spiffe://{OTHER}/x")) and not trusting.takes(of_other))
    assert trusting.takes(signed("1"))
    assert trusting.store.find(OTHER) is None


async def test_xf_1_and_jb_8_only_what_is_configured_is_taken_of_a_message(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """SPIFFE_Federation §4.2: each domain by its own bundle; the agent's word makes no trust domain ours."""
    server.agent.push({DOMAIN: jwks("1"), OTHER: jwks("2"), "third.example": jwks("3")})
    trusting.follow(server, DOMAIN, OTHER)

    await trusting.until(takes=signed("2", f"spiffe://{OTHER}/x"))
    await trusting.until(takes=signed("1"))

    assert not trusting.takes(signed("1", f"spiffe://{OTHER}/x"))
    assert trusting.store.find("third.example") is None


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"x509": {DOMAIN: b""}}, id="WA-2-empty-bundle"),
        pytest.param({"x509": {DOMAIN: b"junk"}}, id="WA-2-no-certificate"),
        pytest.param({"x509": {DOMAIN: der(FIRST)[:-1]}}, id="WA-2-cut-off"),
        pytest.param({"x509": {DOMAIN: der(FIRST) + b"0"}}, id="WA-2-more-behind"),
        pytest.param({"jwt": {DOMAIN: b""}}, id="WA-2-empty-keys"),
        pytest.param({"jwt": {DOMAIN: b"{}"}}, id="WA-2-no-keys"),
        pytest.param({"jwt": {DOMAIN: b'{"keys": [], "keys": []}'}}, id="WA-2-twice"),
    ],
)
async def test_wa_2_a_bundle_that_is_none_is_discarded(
    server: WorkloadApiServer, trusting: Trusting, bad: Mapping[str, Any]
) -> None:
    """Workload API §4.5: what came before stays in force, and so does what comes after."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())
    refused: list[None] = []
    trusting.store.on_change = lambda: refused.extend([None] * (not trusting.takes(FIRST.issue())))

    server.agent.push(**bad)
    server.agent.push({DOMAIN: jwks("1", "2")}, {DOMAIN: der(FIRST, SECOND)})  # the barrier

    await trusting.until(takes=signed("2"))
    await trusting.until(takes=SECOND.issue())
    assert not refused
    assert trusting.takes(signed("1"))


async def test_jb_7_no_keys_revoke_all_tokens_and_no_certificate(server: WorkloadApiServer, trusting: Trusting) -> None:
    """Bundle §4.1.3: an empty set is said, and means that nothing is trusted."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())

    server.agent.push({DOMAIN: b'{"keys": []}'})

    await until(lambda: not trusting.takes(signed("1")))
    assert trusting.takes(FIRST.issue())


@pytest.mark.parametrize("use", ["x509-svid", "wit-svid", "sig"])
async def test_jb_5_a_key_of_another_use_is_ignored_in_the_workload_apis_sets_too(
    server: WorkloadApiServer, trusting: Trusting, use: str
) -> None:
    """JWT-SVID §6.2: SPIRE leaves `use` out there, so without one a key counts; with another it does not."""
    mixed = bundle(entry("P-256", "2", use=use), {"kty": "future", "kid": "x"}, entry("P-256", use=None))
    server.agent.push({DOMAIN: mixed})
    trusting.follow(server)

    await trusting.until(takes=signed("1"))

    assert not trusting.takes(signed("2"))


async def test_wa_4_a_process_that_is_denied_trusts_nothing_any_more(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """Workload API §5.2.2: PermissionDenied, said again, withdraws what was said before, and the broker asks on."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())

    server.agent.always = "PERMISSION_DENIED"
    server.agent.end_streams()
    await until(lambda: trusting.store.find(DOMAIN) is None)
    assert not trusting.takes(signed("1"))

    server.agent.always = None
    await trusting.until(takes=signed("1"))


async def test_one_denial_while_an_authority_is_tainted_drops_nothing(
    server: WorkloadApiServer, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 4, SPIFFE: SPIRE denies what it knows until it has issued anew what a tainted authority signed."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())
    lost: list[str] = []
    monkeypatch.setattr("broker.identity.workload_api._Held.is_withdrawn", lambda _, kind, __: lost.append(kind))

    server.agent.failing += DENIED
    server.agent.end_streams()
    server.agent.push({DOMAIN: jwks("2")}, {DOMAIN: der(SECOND)})
    await trusting.until(takes=SECOND.issue())
    await trusting.until(takes=signed("2"))

    assert not server.agent.failing
    assert lost == []


async def test_a_denial_that_nothing_follows_is_believed_within_seconds(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """Decision 33: an endpoint that denies and then hangs does not keep its old keys in force for a day."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())

    server.agent.failing += [*DENIED, *["UNAVAILABLE"] * 1000]
    server.agent.end_streams()
    await until(lambda: not _trusted(trusting.store, time.time() + 11))

    assert _trusted(trusting.store, time.time() + 5)


async def test_a_bundle_whose_stream_is_down_grows_old_and_is_no_longer_trusted(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """Issue 4, SPIFFE: stale bundles stop being trusted, counted from when the agent was lost."""
    trusting.follow(server, stale_after=60)
    await trusting.until(takes=signed("1"))
    await trusting.until(takes=FIRST.issue())
    later = signed("1")
    assert _trusted(trusting.store, time.time() + DAY)  # an agent that is there vouches for it

    server.stop()
    await until(lambda: not _trusted(trusting.store, time.time() + 61))

    assert trusting.takes(later)
    assert _trusted(trusting.store, time.time() + 50)
    server.start()
    await until(lambda: _trusted(trusting.store, time.time() + 61))


def _trusted(store: TrustStore, now: float) -> bool:
    try:
        store.bundle(DOMAIN, now)
    except ProofUntrusted:
        return False
    return True


async def test_a_change_of_documents_leaves_a_stream_alone(server: WorkloadApiServer, trusting: Trusting) -> None:
    """Issue 4, SPIFFE: no call is dropped because documents were loaded again."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))

    trusting.follow(server)

    assert trusting.takes(signed("1"))
    assert server.agent.methods().count("FetchJWTBundles") == 1


async def test_no_more_is_trusted_once_another_source_is_configured(
    server: WorkloadApiServer, trusting: Trusting
) -> None:
    """Issue 2, Identity: what another source said is forgotten at once."""
    trusting.follow(server)
    await trusting.until(takes=signed("1"))

    trusting.keeper.keep([])
    trusting.store.keep_only(set())

    assert not trusting.takes(signed("1"))


@pytest.mark.parametrize(
    "bad",
    [
        "unix://host/run/agent.sock",
        "unix:agent.sock",
        "unix://",
        "unix:////run/agent.sock",
        "unix:///run/agent.sock?x=1",
        "unix:///run/agent.sock\n",
        "tcp://127.0.0.1:8081/path",
        "tcp://localhost:8081",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://user@127.0.0.1:8081",
        "tcp://999.0.0.1:8081",
        "http://127.0.0.1:8081",
        "/run/agent.sock",
        "",
    ],
)
def test_ep_4_an_endpoint_that_the_standard_does_not_allow_is_refused(bad: str) -> None:
    """Workload Endpoint §4: no authority before a path, no path behind a port, an address and no name."""
    assert Endpoint.parse("unix:///run/agent.sock").target == "unix:/run/agent.sock"
    assert Endpoint.parse("tcp://[::1]:8081").target == "[::1]:8081"

    with pytest.raises(ValueError, match=r"must be|does not appear"):
        Endpoint.parse(bad)


def test_keys_of_the_workload_api_are_json_like_those_of_a_bundle() -> None:
    """SPIRE 1.13: what it sends is a JWK Set without `use`."""
    assert "use" not in json.loads(jwks("1"))["keys"][0]
