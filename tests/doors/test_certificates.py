"""Callers with X.509-SVIDs: through a proxy that ends mutual TLS, and on the broker's own listener."""

import json
import os
import pwd
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ListenerRefused
from broker.testing.certificates import CertificateAuthority
from tests.support.broker import ServedBroker, until
from tests.support.documents import ANALYST, AUDIENCE, HEAD, OTHER, write_documents
from tests.support.low_x509 import Authority, Svid
from tests.support.mutual import Caller, forwarded, over_tls, through_proxy, trust
from tests.support.notes import Notes, NotesService

ME = pwd.getpwuid(os.getuid()).pw_name
HOST = "127.0.0.1:8470"  # the audience's
PARTNER = "spiffe://partner.example/agent/partner"
Start = Callable[..., ServedBroker]
PROD, PARTNERS = Authority("prod"), Authority("partner.example")


@pytest.fixture(scope="module")
def start(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Serve brokers that trust an authority of each trust domain."""
    with ExitStack() as stack:

        def start(**listen: Any) -> ServedBroker:
            place = tmp_path_factory.mktemp("access")
            listen = {"http": "127.0.0.1:0", **listen}
            written = write_documents(place, notes_service, listen=listen)
            trust(written, PROD)
            trust(written, PARTNERS, "partner.example")
            return stack.enter_context(ServedBroker(written, Notes()))

        yield start


@pytest.fixture(scope="module")
def proxied(start: Start) -> ServedBroker:
    """Serve a broker behind a proxy of this user's."""
    return start(proxy={"socket": "run/proxy.sock", "user": ME})


@pytest.fixture(scope="module")
def certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """Make what signs for the broker's own listener."""
    return CertificateAuthority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def mutual(start: Start, certificate_authority: CertificateAuthority) -> ServedBroker:
    """Serve a broker that asks for certificates itself."""
    server = certificate_authority.issue("broker")
    return start(
        client_certificates=True,
        tls={"certificate": str(server.certificate_file), "key": str(server.key_file)},
    )


@pytest.fixture
def agent(mutual: ServedBroker, certificate_authority: CertificateAuthority, tmp_path: Path) -> Callable[..., Caller]:
    """Connect to that one, with a certificate or without."""

    def agent(svid: Svid | None = None, token: str | None = None) -> Caller:
        files = svid.write(tmp_path, f"svid-{id(svid)}") if svid else None
        return over_tls(mutual.url, certificate_authority.certificate_file, files, token)

    return agent


def by_proxy(broker: ServedBroker, header: str | None = None) -> Caller:
    """Speak as the proxy."""
    return through_proxy(str(broker.doors.proxy), HOST, header)


# --- Through a proxy --------------------------------------------------------------------------------------------------


def test_a_caller_that_the_proxy_has_seen_is_its_workload(proxied: ServedBroker) -> None:
    """Issue 4, SPIFFE: X.509-SVIDs by a proxy's X-Forwarded-Client-Cert; how it was proved is on record."""
    answer = by_proxy(proxied, forwarded(PROD.issue(ANALYST))).read()

    identity = proxied.story(answer.call_id)["requested"]["identity"]
    assert answer.code is None
    assert (identity["spiffe_id"], identity["method"], identity["assurance"]) == (ANALYST, "x509-svid", "development")
    assert identity["agent"] == "analyst"


def test_a_chain_with_an_intermediate_is_verified(proxied: ServedBroker) -> None:
    """X509-SVID §5.1: Envoy's Chain begins with the caller's own certificate."""
    svid = Authority("prod", above=PROD).issue(ANALYST)

    assert by_proxy(proxied, forwarded(svid)).read().code is None
    assert by_proxy(proxied, forwarded(svid, Chain=None)).read().code == "proof_untrusted"


def test_each_trust_domain_is_verified_by_its_own_bundle(proxied: ServedBroker) -> None:
    """Issue 4, SPIFFE: several trust domains, never merged."""
    assert by_proxy(proxied, forwarded(PARTNERS.issue(PARTNER))).ask("tools/list").code is None
    assert by_proxy(proxied, forwarded(PROD.issue(PARTNER))).ask("tools/list").code == "proof_untrusted"
    assert by_proxy(proxied, forwarded(PARTNERS.issue(ANALYST))).ask("tools/list").code == "proof_untrusted"


def test_what_another_agent_may_not_do_it_may_not_do_with_a_certificate(proxied: ServedBroker) -> None:
    """Issue 4: the identity decides, not how it was proved."""
    refused = by_proxy(proxied, forwarded(PROD.issue(OTHER))).ask(
        "tools/call", {"name": "notes_notes_write", "arguments": {"id": "n", "text": "t"}}
    )

    assert refused.code == "access_denied"
    assert by_proxy(proxied, forwarded(PROD.issue("spiffe://prod/agent/suspended"))).read().status == 403


def test_a_token_and_a_certificate_must_name_the_same_workload(proxied: ServedBroker) -> None:
    """Issue 4: two proofs are no choice of two identities."""
    header = forwarded(PROD.issue(ANALYST))

    both = by_proxy(proxied, header).read(Authorization=f"Bearer {proxied.token()}")
    two = by_proxy(proxied, header).read(Authorization=f"Bearer {proxied.token(OTHER)}")
    bad = by_proxy(proxied, header).read(Authorization=f"Bearer {proxied.token(seconds=-5)}")
    alone = by_proxy(proxied).read(Authorization=f"Bearer {proxied.token()}")

    assert (both.code, alone.code) == (None, None)
    assert (two.code, bad.code) == ("proof_malformed", "proof_expired")


def test_a_uri_without_a_certificate_is_taken_only_where_the_documents_say_so(
    proxied: ServedBroker, start: Start
) -> None:
    """Issue 4, SPIFFE: where only the URI comes, what is trusted is the proxy's word, and the record says so."""
    trusting = start(proxy={"socket": "run/proxy.sock", "user": ME, "uri_alone": True})
    header = f"By=spiffe://prod/proxy;Hash={'0' * 64};URI={PARTNER}"

    assert by_proxy(proxied, header).ask("tools/list").code == "proof_missing"
    assert by_proxy(trusting, header).ask("tools/list").code is None
    answer = by_proxy(trusting, f"URI={OTHER}").read()
    assert trusting.story(answer.call_id)["requested"]["identity"]["method"] == "x509-svid"
    assert by_proxy(trusting, "URI=spiffe://unknown.example/x").ask("tools/list").code == "proof_untrusted"


def test_a_policy_may_refuse_what_only_a_proxy_has_seen(start: Start) -> None:
    """Issue 4, Policy: assurance is part of a decision; a verified chain is `attested`, a proxy's word `proxied`."""
    broker = start(proxy={"socket": "run/proxy.sock", "user": ME, "uri_alone": True})
    broker.written.put(
        "partner-policy.yaml",
        f"{HEAD}kind: AgentPolicy\nmetadata: {{name: partner}}\nspec:\n  identity: {{workload: '{PARTNER}'}}\n"
        "  require: {assurance: [attested]}\n  tools: [{resource: notes.notes, actions: [read]}]\n",
    )
    until(lambda: PARTNER in broker.parts.documents.current.policies)

    verified = by_proxy(broker, forwarded(PARTNERS.issue(PARTNER))).read()
    vouched = by_proxy(broker, f"URI={PARTNER}").read()

    assert (verified.code, vouched.code) == (None, "access_denied")
    kinds = [broker.story(answer.call_id)["requested"]["identity"]["assurance"] for answer in (verified, vouched)]
    assert kinds == ["attested", "proxied"]


def test_the_proxys_listener_may_be_a_loopback_address(start: Start) -> None:
    """Issue 4, SPIFFE: with an explicit statement that nobody but the proxy reaches it."""
    broker = start(proxy={"http": "127.0.0.1:0", "only_the_proxy_reaches_it": True})

    assert str(broker.doors.proxy).startswith("http://127.0.0.1:")
    assert by_proxy(broker, forwarded(PROD.issue(ANALYST))).read().code is None


def test_a_proxy_user_that_is_not_there_keeps_the_broker_from_starting(start: Start) -> None:
    """Issue 4, SPIFFE: without somebody to believe there is nothing to listen for."""
    with pytest.raises(ListenerRefused, match="no user"):
        start(proxy={"socket": "run/proxy.sock", "user": "nobody-of-this-name"})


def test_the_header_proves_nothing_on_any_other_listener(proxied: ServedBroker) -> None:
    """Issue 4, SPIFFE: only from a listener that the proxy alone reaches."""
    header = forwarded(PROD.issue(ANALYST))
    assert by_proxy(proxied, header).read().code is None

    answer = through_proxy(proxied.url, proxied.url.removeprefix("http://"), header).read()

    assert (answer.status, answer.code) == (401, "proof_missing")


# --- On the broker's own listener -------------------------------------------------------------------------------------


def test_a_caller_with_a_certificate_is_its_workload(mutual: ServedBroker, agent: Callable[..., Caller]) -> None:
    """Issue 4, SPIFFE: our own listener, where the Python in use gives the peer's chain."""
    answer = agent(PROD.issue(ANALYST)).read()

    identity = mutual.story(answer.call_id)["requested"]["identity"]
    assert answer.code is None
    assert (identity["spiffe_id"], identity["method"]) == (ANALYST, "x509-svid")


def test_callers_without_a_certificate_present_a_token_as_ever(
    mutual: ServedBroker, agent: Callable[..., Caller]
) -> None:
    """Issue 4, SPIFFE: certificates are asked for, and may be missing."""
    assert agent().read().code == "proof_missing"
    assert agent(token=mutual.token()).read().code is None
    assert agent(PROD.issue(ANALYST), mutual.token(OTHER)).read().code == "proof_malformed"


def test_a_certificate_of_a_stranger_does_not_get_past_the_handshake(agent: Callable[..., Caller]) -> None:
    """X509-SVID §5.1: no authority of any trust domain vouches for it."""
    assert agent(PROD.issue(ANALYST)).read().code is None

    with pytest.raises((ssl.SSLError, ConnectionError)):
        agent(Authority("prod").issue(ANALYST)).read()


def test_one_domains_authority_gets_past_the_handshake_and_no_further(agent: Callable[..., Caller]) -> None:
    """SPIFFE_Federation §4.2: OpenSSL knows the authorities of all domains, the verifier those of one."""
    assert agent(PROD.issue(ANALYST)).read().code is None

    assert agent(PARTNERS.issue(ANALYST)).read().code == "proof_untrusted"
    assert agent(PROD.issue(PARTNER)).read().code == "proof_untrusted"


def test_a_chain_with_an_intermediate_needs_a_python_that_tells_of_it(agent: Callable[..., Caller]) -> None:
    """ssl.SSLObject.get_unverified_chain is there from Python 3.13 on; before, such a caller is refused."""
    svid = Authority("prod", above=PROD).issue(ANALYST)

    assert agent(svid).read().code == (None if sys.version_info >= (3, 13) else "proof_untrusted")


def test_a_rotation_reaches_open_connections_and_new_ones(
    start: Start, certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    """Issue 4, SPIFFE: a new authority is known at once, a removed one no longer, on open connections too."""
    server = certificate_authority.issue("rotating")
    tls = {"certificate": str(server.certificate_file), "key": str(server.key_file)}
    broker = start(client_certificates=True, tls=tls)
    new = Authority("prod")

    def caller(authority: Authority) -> Caller:
        files = authority.issue(ANALYST).write(tmp_path, f"svid-{id(authority)}")
        return over_tls(broker.url, certificate_authority.certificate_file, files)

    with caller(PROD) as old, caller(new) as renewed:
        assert old.read().code is None
        trust(broker.written, PROD, "prod", new)
        until(lambda: len(broker.parts.trust.find("prod").authorities) == 2)  # type: ignore[union-attr]
        assert (old.read().code, renewed.read().code) == (None, None)

        trust(broker.written, new)
        until(lambda: len(broker.parts.trust.find("prod").authorities) == 1)  # type: ignore[union-attr]

        assert (old.read().code, renewed.read().code) == ("proof_untrusted", None)


def test_client_certificates_need_tls(start: Start) -> None:
    """Issue 4, SPIFFE: a listener without TLS cannot ask for anything."""
    with pytest.raises(ListenerRefused, match="needs TLS"):
        start(client_certificates=True)


# --- Sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_belongs_to_issuer_and_subject_however_they_are_proved(proxied: ServedBroker) -> None:
    """architecture.md, Connectors: bound to issuer and subject; lessons.md 17: not to the bytes of a proof."""
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}  # fmt: skip
    own = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    opened, _ = by_proxy(proxied, forwarded(PROD.issue(ANALYST))).send("POST", "/mcp", own, json.dumps(hello).encode())
    session = {**own, "MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": str(opened.getheader("Mcp-Session-Id"))}
    ping = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "ping"}).encode()

    def status(caller: Caller, **more: str) -> int:
        return caller.send("POST", "/mcp", {**session, **more}, ping)[0].status

    assert opened.status == 200
    assert status(by_proxy(proxied, forwarded(PROD.issue(ANALYST)))) == 200  # a renewed certificate
    assert status(by_proxy(proxied), Authorization=f"Bearer {proxied.token()}") == 200
    assert status(by_proxy(proxied, forwarded(PROD.issue(OTHER)))) == 404
    assert status(by_proxy(proxied), Authorization=f"Bearer {proxied.token(OTHER)}") == 404


def test_the_audience_is_one_that_the_proxy_passes_on() -> None:
    """The Host header that these tests send is the audience's, as a proxy leaves it."""
    assert f"http://{HOST}/mcp" == AUDIENCE
