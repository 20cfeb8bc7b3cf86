"""Attempts to pass for an agent by certificate: forged headers; stolen, foreign, future and oversized SVIDs."""

import os
import pwd
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from broker.testing.certificates import CertificateAuthority
from tests.support.broker import ServedBroker
from tests.support.documents import ANALYST, write_documents
from tests.support.low_issuer import NOW
from tests.support.low_x509 import Authority, Svid
from tests.support.mutual import Caller, forwarded, over_tls, through_proxy, trust
from tests.support.notes import Notes, NotesService

HOST = "127.0.0.1:8470"
HEADER = "X-Forwarded-Client-Cert"
PATHS = (("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/sse"), ("POST", "/messages/"))
PROD = Authority("prod")
VICTIM = PROD.issue(ANALYST)


@pytest.fixture(scope="module")
def broker(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """Serve a broker with TLS that asks for certificates, and a proxy of this user's."""
    server = CertificateAuthority(tmp_path_factory.mktemp("tls")).issue("broker")
    listen = {
        "http": "127.0.0.1:0",
        "tls": {"certificate": str(server.certificate_file), "key": str(server.key_file)},
        "client_certificates": True,
        "proxy": {"socket": "run/proxy.sock", "user": pwd.getpwuid(os.getuid()).pw_name},
    }
    with ExitStack() as stack:
        written = write_documents(tmp_path_factory.mktemp("access"), notes_service, listen=listen)
        trust(written, PROD)
        yield stack.enter_context(ServedBroker(written, Notes()))


@pytest.fixture
def proxy(broker: ServedBroker) -> Callable[..., Caller]:
    """Speak as the proxy that passes a header on."""
    return lambda header=None: through_proxy(str(broker.doors.proxy), HOST, header)


@pytest.fixture
def own(broker: ServedBroker, tmp_path: Path) -> Callable[..., Caller]:
    """Speak with the broker's own listener, with a certificate or without."""
    tls = broker.written.directory / broker.parts.documents.current.broker.listen.tls.certificate  # type: ignore[union-attr]

    def own(svid: Svid | None = None) -> Caller:
        files = None if svid is None else svid.write(tmp_path, f"svid-{id(svid)}")
        return over_tls(broker.url, tls.with_name("ca.pem"), files)

    return own


def test_a_forged_header_on_the_agents_listener_is_not_read(own: Callable[..., Caller]) -> None:
    """lessons.md 7: no side door past the proof; a certificate is public, whoever has seen it can write the header."""
    assert own(VICTIM).read().code is None

    for method, path in PATHS:
        for name in (HEADER, HEADER.lower(), HEADER.replace("-", "_"), "X-SSL-Client-Cert", "X-Client-Cert"):
            response, raw = own().send(method, path, {name: forwarded(VICTIM)}, b"{}")
            assert (response.status, b"proof_missing" in raw) == (401, True)


def test_a_local_process_that_is_not_the_proxy_is_nobody(
    notes_service: NotesService, tmp_path: Path, proxy: Callable[..., Caller]
) -> None:
    """Issue 4, SPIFFE: the kernel says who connects; the header of anybody else is not even read."""
    assert proxy(forwarded(VICTIM)).read().code is None
    listen = {"http": "127.0.0.1:0", "proxy": {"socket": "run/proxy.sock", "user": _somebody_else()}}
    written = write_documents(tmp_path / "access", notes_service, listen=listen)
    trust(written, PROD)

    with ServedBroker(written, Notes()) as broker:
        caller = through_proxy(str(broker.doors.proxy), HOST, forwarded(VICTIM))
        refused = caller.read()
        with_a_token = caller.read(Authorization=f"Bearer {broker.token()}")

        assert (refused.status, refused.code) == (401, "proxy_unknown")
        assert with_a_token.code == "proxy_unknown"
        assert broker.records(kind="authentication_refused")[0]["outcome"]["code"] == "proxy_unknown"


def _somebody_else() -> str:
    return next(entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != os.getuid())


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda own: f"{forwarded(VICTIM)},{own}", id="before-the-proxys"),
        pytest.param(lambda own: f"{own},{forwarded(VICTIM)}", id="behind-the-proxys"),
        pytest.param(lambda own: f"{own};URI={ANALYST}", id="another-uri"),
        pytest.param(lambda own: f"URI={ANALYST};{own}", id="another-uri-before"),
    ],
)
def test_a_header_that_the_caller_wrote_before_the_proxy_added_its_own_is_refused(
    proxy: Callable[..., Caller], forge: Callable[[str], str]
) -> None:
    """Envoy's APPEND_FORWARD: a proxy that keeps what its caller wrote is a mistake, and is not guessed about."""
    mine = forwarded(PROD.issue("spiffe://prod/agent/other"))
    assert proxy(mine).read().code is None

    assert proxy(forge(mine)).read().code == "proof_malformed"


def test_two_headers_are_refused(proxy: Callable[..., Caller]) -> None:
    """RFC 9110 §5.3: two lines of a header are one list, and which of them the proxy wrote nobody can tell."""
    caller = proxy(forwarded(PROD.issue("spiffe://prod/agent/other")))
    connection = caller.connect()
    connection.putrequest("POST", "/mcp", skip_host=True)
    for name, value in (("Host", HOST), (HEADER, forwarded(VICTIM)), (HEADER, caller.headers[HEADER])):
        connection.putheader(name, value)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    response = connection.getresponse()

    assert (response.status, b"proof_malformed" in response.read()) == (401, True)
    connection.close()


def _bad() -> Iterator[tuple[str, Svid, str]]:
    yield "of another authority", Authority("prod").issue(ANALYST), "proof_untrusted"
    yield "of another trust domain's", Authority("partner.example").issue(ANALYST), "proof_untrusted"
    yield "foreign", PROD.issue("spiffe://unknown.example/x"), "proof_untrusted"
    yield "expired", PROD.issue(ANALYST, since=NOW - 900, until=NOW - 1), "proof_expired"
    yield "future", PROD.issue(ANALYST, since=NOW + 36_000, until=NOW + 72_000), "proof_not_yet_valid"
    yield "of two workloads", PROD.issue(ANALYST, "spiffe://prod/agent/other"), "proof_malformed"
    yield "an authority's", PROD.issue(ANALYST, ca=True, use=("digital_signature", "key_cert_sign")), "proof_malformed"
    yield "of no workload", PROD.issue("spiffe://prod"), "proof_malformed"
    yield "oversized", PROD.issue(ANALYST, dns=[f"{n}.example.org" for n in range(2500)]), "proof_malformed"
    yield "too many", Svid(VICTIM.certificates * 9, VICTIM.key), "proof_malformed"


@pytest.mark.parametrize(("svid", "code"), [pytest.param(svid, code, id=name) for name, svid, code in _bad()])
def test_a_certificate_that_proves_nothing_is_refused_and_nothing_runs(
    proxy: Callable[..., Caller], notes_service: NotesService, svid: Svid, code: str
) -> None:
    """Issue 4: stolen, foreign, future, oversized and malformed proofs: each is a 401 with its code."""
    assert proxy(forwarded(VICTIM)).read().code is None
    before = list(notes_service.effects)
    header = forwarded(svid, Cert=None, URI=None)
    write: dict[str, Any] = {"name": "notes_notes_write", "arguments": {"id": "never"}}

    refused = proxy(header).ask("tools/call", write)

    assert (refused.status, refused.code) == (401, code)
    assert notes_service.effects == before


def test_a_refused_certificate_names_no_workload_in_the_trail(
    broker: ServedBroker, proxy: Callable[..., Caller]
) -> None:
    """lessons.md 1: what was not proved is not written down as if it were."""
    refused = proxy(forwarded(Authority("prod").issue(ANALYST))).read()

    records = broker.records(kind="authentication_refused")
    assert refused.code == "proof_untrusted"
    assert records
    assert not any("identity" in record for record in records)


def test_a_stream_is_spoken_into_by_its_own_workload_alone(proxy: Callable[..., Caller]) -> None:
    """lessons.md 5: a session id bound to no principal was anybody's; here it is issuer and subject's."""
    stream = proxy().connect()
    stream.request("GET", "/sse", headers={"Host": HOST, HEADER: forwarded(VICTIM)})
    lines = stream.getresponse()
    where = next(line for line in lines if line.startswith(b"data: ")).decode().removeprefix("data: ").strip()
    message = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
    own = {"Content-Type": "application/json"}

    def post(svid: Svid) -> int:
        return proxy(forwarded(svid)).send("POST", where, own, message)[0].status

    assert post(PROD.issue(ANALYST)) == 202
    assert post(PROD.issue("spiffe://prod/agent/other")) in {403, 404}
    assert post(Authority("prod").issue(ANALYST)) == 401
    stream.close()


def test_a_tls_session_is_not_taken_up_again(own: Callable[..., Caller]) -> None:
    """X509-SVID §5.1: each connection shows its certificates anew; a resumed one would bring the leaf and no chain."""
    first = own(VICTIM).connect()
    first.request("GET", "/healthz")
    assert first.getresponse().read()
    assert isinstance(first.sock, ssl.SSLSocket)
    assert first.sock.version() == "TLSv1.3"
    session = first.sock.session

    assert session is None or not session.has_ticket
    first.close()
