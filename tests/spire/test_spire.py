"""With a real SPIRE: a workload is attested, and brokered by JWT-SVID and X.509-SVID, whatever SPIRE does meanwhile."""

import os
import pwd
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from mcp import Client, StdioServerParameters

from broker.testing.certificates import CertificateAuthority
from tests.support.broker import ServedBroker, until
from tests.support.clients import AAM, CALL_ID, Answered
from tests.support.documents import AUDIENCE, HEAD, write_documents
from tests.support.mutual import Caller, over_tls, through_proxy
from tests.support.notes import Notes, NotesService
from tests.support.spire import DOMAIN, Kind, NotHere, Spire, programs

pytestmark = pytest.mark.slow

WORKLOAD = f"spiffe://{DOMAIN}/agent/analyst"
READ: dict[str, Any] = {"name": "notes_notes_read", "arguments": {"id": "n1"}}
ME = pwd.getpwuid(os.getuid()).pw_name
DOCUMENTS = f"""{HEAD}kind: Agent
metadata: {{name: attested}}
spec:
  workload: {WORKLOAD}
  owner: jane@example.com
  team: finance
  environment: attested
  deployment: attested-1
---
{HEAD}kind: AgentPolicy
metadata: {{name: attested-notes}}
spec: {{identity: {{workload: {WORKLOAD}}}, tools: [{{resource: notes.notes, actions: [read]}}]}}
---
{HEAD}kind: TrustDomain
metadata: {{name: {DOMAIN}}}
spec:
  environment: attested
  bundle: """


@pytest.fixture(scope="module")
def spire() -> Iterator[Spire]:
    """Run a server and an agent, which know this user as the agent's workload; in CI, they must be there."""
    try:
        programs()
    except NotHere as reason:
        if os.environ.get("AAM_CI"):
            raise
        pytest.skip(str(reason))
    with tempfile.TemporaryDirectory(prefix="aam-spire-") as place, Spire(Path(place)) as spire:
        spire.register("/agent/analyst", f"unix:uid:{os.getuid()}")
        yield spire


class Setting:
    """A broker that trusts the domain, and an agent of this process's."""

    def __init__(self, broker: ServedBroker, spire: Spire, authority: CertificateAuthority, place: Path) -> None:
        self.broker = broker
        self.spire = spire
        self._authority = authority
        self._place = place

    def by_token(self, token: str | None = None) -> Answered:
        """Call with a token that is fetched now."""
        token = token or self.spire.token(WORKLOAD, AUDIENCE)
        return over_tls(self.broker.url, self._authority.certificate_file, None, token).read()

    def by_certificate(self) -> Answered:
        """Call over mutual TLS with a certificate that is fetched now."""
        return self.caller().read()

    def caller(self) -> Caller:
        """Hold the certificate of this moment."""
        files = self.spire.certificate(Path(tempfile.mkdtemp(dir=self._place)))
        return over_tls(self.broker.url, self._authority.certificate_file, files)

    def identity(self, answer: Answered) -> dict[str, Any]:
        """Return as whom a call was recorded."""
        assert answer.code is None, answer
        identity: dict[str, Any] = self.broker.story(answer.call_id)["requested"]["identity"]
        return identity

    def trusted(self, kind: Kind) -> set[str]:
        """Return what the broker trusts of the domain: ids of keys, or of authorities."""
        bundle = self.broker.parts.trust.find(DOMAIN)
        if bundle is None:
            return set()
        if kind == "jwt":
            return set(bundle.keys)
        return {format(authority.serial_number, "x") for authority in bundle.authorities}


@pytest.fixture
def setting(spire: Spire, notes_service: NotesService, tmp_path: Path) -> Iterator[Setting]:
    """Serve a broker with mutual TLS that takes the domain's bundle from the Workload API."""
    with serving(spire, notes_service, tmp_path, f"{{workload_api: '{spire.workload_api}'}}") as setting:
        yield setting


@contextmanager
def serving(spire: Spire, service: NotesService, place: Path, source: str) -> Iterator[Setting]:
    """Serve a broker with the domain's bundle from a source."""
    authority = CertificateAuthority(place / "tls")
    server = authority.issue("broker")
    tls = {"certificate": str(server.certificate_file), "key": str(server.key_file)}
    proxy = {"socket": "run/proxy.sock", "user": ME}
    listen = {"http": "127.0.0.1:0", "tls": tls, "client_certificates": True, "proxy": proxy}
    written = write_documents(place / "access", service, listen=listen)
    (written.directory / "bootstrap.json").write_text(spire.bundle())
    written.put("spire.yaml", DOCUMENTS + source + "\n")
    with ServedBroker(written, Notes()) as broker:
        setting = Setting(broker, spire, authority, place)
        until(lambda: setting.trusted("jwt") and setting.trusted("x509"))
        yield setting


@contextmanager
def calling(setting: Setting) -> Iterator[list[str | None]]:
    """Call by both kinds of SVID all the while; note how each call ends."""
    codes: list[str | None] = []
    over = threading.Event()

    def call(by: Callable[[], Answered]) -> None:
        while not over.is_set():
            codes.append(by().code)

    threads = [threading.Thread(target=call, args=(by,)) for by in (setting.by_token, setting.by_certificate)]
    for thread in threads:
        thread.start()
    try:
        yield codes
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_an_attested_workload_is_brokered_by_its_jwt_svid(setting: Setting) -> None:
    """Issue 4, Real SPIRE: the agent attests this process; the broker trusts what the Workload API streams."""
    identity = setting.identity(setting.by_token())

    assert (identity["spiffe_id"], identity["method"], identity["assurance"]) == (WORKLOAD, "jwt-svid", "attested")
    assert identity["key_id"] in setting.trusted("jwt")


def test_an_attested_workload_is_brokered_by_its_x509_svid(setting: Setting) -> None:
    """Issue 4, Real SPIRE: over mutual TLS on the broker's own listener."""
    identity = setting.identity(setting.by_certificate())

    assert (identity["spiffe_id"], identity["method"], identity["assurance"]) == (WORKLOAD, "x509-svid", "attested")


def test_an_x509_svid_of_spires_passes_through_a_proxy(setting: Setting, tmp_path: Path) -> None:
    """Issue 4, SPIFFE: as Envoy forwards it, with SPIRE's own certificates."""
    chain, _ = setting.spire.certificate(tmp_path / "forwarded")
    header = f'Chain="{quote(chain.read_text(), safe="")}";URI={WORKLOAD}'

    answer = through_proxy(str(setting.broker.doors.proxy), "127.0.0.1:8470", header).read()

    assert setting.identity(answer)["method"] == "x509-svid"


def test_the_relay_fetches_its_token_from_spire(setting: Setting) -> None:
    """identity.md A9: `aam stdio`, attested by the kernel's word on the agent's socket."""
    options = ["--audience", AUDIENCE, "--workload-api", setting.spire.workload_api, "--agent", WORKLOAD]
    server = StdioServerParameters(command=str(AAM), args=["stdio", "--socket", setting.broker.agents_socket, *options])

    async def read() -> Any:
        async with Client(server) as client:
            return await client.call_tool(READ["name"], READ["arguments"])

    result = anyio.run(read)

    identity = setting.broker.story(result.meta[CALL_ID])["requested"]["identity"]
    assert (identity["spiffe_id"], identity["method"]) == (WORKLOAD, "jwt-svid")


def test_no_call_is_refused_while_the_key_of_tokens_is_rotated(setting: Setting) -> None:
    """Issue 4, SPIFFE: rotation without a dropped call; tokens of the revoked key are worthless at once."""
    old = setting.spire.token(WORKLOAD, AUDIENCE)

    with calling(setting) as codes:
        new = rotate(setting, "jwt", lambda: setting.identity(setting.by_token())["key_id"])
        calls(codes, 6)

    assert set(codes) == {None}
    assert setting.trusted("jwt") == {new}
    assert setting.by_token(old).code == "proof_untrusted"


def test_no_call_is_refused_while_the_authority_of_certificates_is_rotated(setting: Setting) -> None:
    """Issue 4, SPIFFE: the same for X.509-SVIDs."""
    old = setting.caller()
    assert old.read().code is None

    with calling(setting) as codes:
        rotate(setting, "x509", lambda: setting.identity(setting.by_certificate())["key_id"])
        calls(codes, 6)

    assert set(codes) == {None}
    assert old.read().code == "proof_untrusted"


def rotate(setting: Setting, kind: Kind, signer: Callable[[], str]) -> str:
    """Rotate an authority as SPIRE's manual asks: prepared, activated, tainted, revoked. Return the new one's id."""
    spire, before, signed = setting.spire, setting.trusted(kind), signer()
    spire.change(kind, "prepare")
    until(lambda: len(setting.trusted(kind)) == len(before) + 1)
    (new,) = setting.trusted(kind) - before
    old = spire.authority(kind)
    spire.change(kind, "activate", old.prepared)
    spire.change(kind, "taint", old.active)
    until(lambda: signer() != signed, 180)
    spire.change(kind, "revoke", old.active)
    until(lambda: setting.trusted(kind) == {new}, 180)
    return new


def calls(codes: list[str | None], count: int) -> None:
    """Wait until so many more calls have ended."""
    seen = len(codes)
    until(lambda: len(codes) >= seen + count, 180)


def test_calls_go_on_while_the_server_and_the_agent_are_restarted(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """Issue 4, Real SPIRE: through a server restart; and what the agent said last is trusted until it is back."""
    spire = setting.spire
    token = spire.token(WORKLOAD, AUDIENCE)

    with calling(setting) as codes:
        spire.stop_server()
        calls(codes, 4)
        spire.start_server()
        calls(codes, 4)
    spire.stop_agent()
    without = setting.by_token(token)
    spire.start_agent()
    with calling(setting) as after:
        calls(after, 4)

    assert set(codes) | set(after) == {None}
    assert without.code is None
    assert "a stream of the Workload API ended; it is opened again" in caplog.messages


def test_spires_bundle_endpoint_is_believed_by_its_svid(
    spire: Spire, notes_service: NotesService, tmp_path: Path
) -> None:
    """Issue 4, SPIFFE: https_spiffe, against SPIRE's own federation endpoint."""
    source = (
        f"{{url: '{spire.bundle_url}', endpoint: 'spiffe://{DOMAIN}/spire/server', bootstrap: bootstrap.json, "
        "private_ranges: [127.0.0.0/8]}"
    )

    with serving(spire, notes_service, tmp_path, source) as setting:
        assert setting.identity(setting.by_token())["method"] == "jwt-svid"
        assert setting.identity(setting.by_certificate())["method"] == "x509-svid"


def test_what_spire_attests_is_no_agent_of_ours_before_it_is_registered(setting: Setting) -> None:
    """Issue 4, Real SPIRE: SPIRE attests; that it is an agent, and whose, the registry says."""
    # The last test: from here on, this process has two identities
    stranger = f"spiffe://{DOMAIN}/agent/stranger"
    setting.spire.register("/agent/stranger", f"unix:uid:{os.getuid()}")

    refused = setting.by_token(setting.spire.token(stranger, AUDIENCE))

    assert (refused.status, refused.code) == (403, "agent_unregistered")
