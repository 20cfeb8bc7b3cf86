"""`aam doctor`: each thing that can be broken is found, and how to mend it is said."""

# ruff: noqa: E501 - tables read across

import datetime
import ipaddress
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.cli import examine as examining
from broker.cli.daemon import Daemon
from broker.cli.examine import Finding, examine
from broker.documents import load
from broker.testing.salesforce.faults import Answer, Drop

Aam = Callable[..., Any]
Break = Callable[[Path], object]

HOST = "127.0.0.1"


def found(directory: Path, what: str) -> list[Finding]:
    """Return what is found of one thing."""
    return [finding for finding in examine(directory) if finding.what == what]


def test_everything_is_fine_where_it_is(aam: Aam, served: Any) -> None:
    """Issue 2, What a user can do 3: sockets, TLS, keys, clock, stores, connectors and grants."""
    ran, as_json = aam("doctor", served.directory), aam("doctor", served.directory, "--json")

    states = {finding["what"]: finding["state"] for finding in as_json.json["findings"]}
    assert (ran.code, as_json.code, as_json.json["ok"]) == (0, 0, True)
    assert states == {
        "clock": "fine",
        "documents": "fine",
        "vault key": "fine",
        "trust prod": "warning",
        "broker": "fine",
        "sockets": "fine",
        "store": "fine",
        "grant salesforce": "fine",
    }
    assert "signed in;" in ran.out


# --- Without a broker -------------------------------------------------------------------------------------------------


def nothing(_place: Path) -> None:
    """Break nothing."""


def everywhere(place: Path) -> None:
    """Listen on every address."""
    broker = place / "broker.yaml"
    broker.write_text(broker.read_text().replace("http: 127.0.0.1:", "http: 0.0.0.0:"))


def no_store(place: Path) -> None:
    """Put something else where the store is."""
    (place / "data").mkdir()
    (place / "data/broker.db").write_text("x" * 9999)


def long_socket(place: Path) -> None:
    """Name a socket that no kernel takes."""
    broker = place / "broker.yaml"
    broker.write_text(broker.read_text().replace("run/operators.sock", f"{'x' * 120}.sock"))


def second_set(place: Path) -> None:
    """Put a second Broker document below the directory."""
    (place / "other").mkdir()
    (place / "other/broker.yaml").write_bytes((place / "broker.yaml").read_bytes())


BROKEN: list[tuple[str, Break, str, str, str]] = [
    ("a mistake", lambda place: (place / "x.yaml").write_text("a: ["), "documents", "x.yaml:1", "aam check"),
    ("no key", lambda place: (place / "secrets/vault.key").unlink(), "vault key", "cannot be read", "put the key"),
    ("an open key", lambda place: (place / "secrets/vault.key").chmod(0o640), "vault key", "Others may read", "chmod 600"),
    ("a key that is none", lambda place: (place / "secrets/vault.key").write_text("x"), "vault key", "no key of 32", "32 random bytes in base64"),
    ("no broker", nothing, "broker", "No broker answers", "aam serve"),
    ("no network protection", everywhere, "listener", "without TLS", "listen.http"),
    ("a store that is none", no_store, "store", "is no database", "backup"),
    ("a socket's path too long", long_socket, "documents", "100", "aam check"),
    ("two sets", second_set, "broker", "more than one Broker document", "one set"),
    ("an empty bundle", lambda place: (place / "trust-bundle.json").write_text('{"keys":[]}'), "trust prod", "no usable", "publish"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "break_it", "where", "said", "mend"), BROKEN, ids=[what for what, *_ in BROKEN])
def test_what_is_broken_is_found_and_how_to_mend_it_is_said(
    aam: Aam, own: Any, what: str, break_it: Break, where: str, said: str, mend: str
) -> None:
    """Issue 2, What a user can do 3: `aam doctor` says how to mend each."""
    break_it(own.directory)

    ran = aam("doctor", own.directory)
    (finding,) = found(own.directory, where)

    assert ran.code == 1, what
    assert finding.state == "wrong"
    assert said in finding.said
    assert mend in finding.mend
    assert "Traceback" not in ran.err


def test_a_workload_api_that_is_not_there_is_found(own: Any) -> None:
    """Issue 4, SPIFFE: without its agent, no identity of the trust domain can be verified."""
    domain = next(path for path in own.directory.rglob("*.yaml") if "kind: TrustDomain" in path.read_text())
    path = own.directory / "agent.sock"
    text = domain.read_text()
    file = next(line.strip() for line in text.splitlines() if line.strip().startswith("file:"))
    domain.write_text(text.replace(file, f"workload_api: unix://{path}"))
    (missing,) = found(own.directory, "trust prod")

    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        (there,) = found(own.directory, "trust prod")

    assert (missing.state, there.state) == ("wrong", "warning")
    assert "Workload API" in missing.said


def test_a_socket_that_nobody_answers_on_is_found(own: Any) -> None:
    """A killed broker leaves one; it does not keep the next from starting."""
    (own.directory / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(own.directory / "run/operators.sock"))

    (finding,) = found(own.directory, "sockets")

    assert (finding.state, "nothing answers" in finding.said) == ("warning", True)


def test_a_port_that_is_taken_is_found(own: Any) -> None:
    """The listener is opened as `aam serve` opens it."""
    with socket.socket() as taken:
        taken.bind((HOST, own.port))
        taken.listen()

        (finding,) = found(own.directory, "listener")

    assert (finding.state, str(own.port) in finding.said) == ("wrong", True)
    assert found(own.directory, "listener") == []


def test_a_socket_that_one_may_not_reach_is_not_called_dead(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker may be well; the advice to start another would be wrong."""
    monkeypatch.setattr(Daemon, "get", _not_permitted)

    (finding,) = found(own.directory, "broker")

    assert (finding.state, "You may not reach" in finding.said) == ("wrong", True)
    assert "aam serve" not in finding.mend


def _not_permitted(self: Daemon, _path: str) -> None:
    raise self._unreachable(PermissionError(13, "Permission denied"))


def test_a_clock_that_stands_in_the_past_is_found(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token would be refused, and every record would be misdated."""
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)

    assert [finding.state for finding in found(own.directory, "clock")] == ["wrong"]


@pytest.mark.parametrize(("value", "state"), [(None, "warning"), ("x", "wrong"), ("A" * 43 + "=", "warning")])
def test_a_key_in_the_environment_is_warned_of(
    own: Any, monkeypatch: pytest.MonkeyPatch, value: str | None, state: str
) -> None:
    """credentials.md B5: environment (warned); the doctor's own environment may not be the broker's."""
    broker = own.directory / "broker.yaml"
    broker.write_text(
        broker.read_text().replace("    source: file\n    path: secrets/vault.key", "    source: environment")
    )
    monkeypatch.delenv("AAM_VAULT_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("AAM_VAULT_KEY", value)

    assert [finding.state for finding in found(own.directory, "vault key")] == [state]


# --- TLS --------------------------------------------------------------------------------------------------------------


def write_tls(directory: Path, *, days: tuple[int, int] = (-1, 300), name: str = HOST, passphrase: bytes = b"") -> None:
    """Write a certificate and its key, and say so in the Broker document."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    alternative: x509.GeneralName = x509.DNSName(name)
    if name == HOST:
        alternative = x509.IPAddress(ipaddress.ip_address(HOST))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    (directory / "tls.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (directory / "tls.key").write_bytes(private)
    (directory / "tls.key").chmod(0o600)
    broker = directory / "broker.yaml"
    if "tls.pem" not in broker.read_text():
        tls = "  listen:\n    tls: { certificate: tls.pem, key: tls.key }\n"
        broker.write_text(broker.read_text().replace("  listen:\n", tls))


def other_key(place: Path) -> None:
    """Replace the key by another."""
    certificate = (place / "tls.pem").read_bytes()
    write_tls(place)
    (place / "tls.pem").write_bytes(certificate)


TLS: list[tuple[str, dict[str, Any], Break, str, str, str]] = [
    ("good", {}, nothing, "TLS", "fine", "holds until"),
    ("ended", {"days": (-30, -1)}, nothing, "TLS", "wrong", "ended at"),
    ("ends soon", {"days": (-30, 3)}, nothing, "TLS", "warning", "ends at"),
    ("not begun", {"days": (1, 30)}, nothing, "TLS", "wrong", "begins at"),
    ("another key", {}, other_key, "documents", "wrong", "tls.key does not belong to"),
    ("no key", {}, lambda place: (place / "tls.key").unlink(), "documents", "wrong", "tls.key"),
    ("junk", {}, lambda place: (place / "tls.pem").write_text("x"), "documents", "wrong", "tls.pem"),
    ("a passphrase", {"passphrase": b"secret"}, nothing, "documents", "wrong", "without a passphrase"),
    ("another name", {"name": "other.example.com"}, nothing, "TLS name", "wrong", "is not for 127.0.0.1"),
    ("an open key", {}, lambda place: (place / "tls.key").chmod(0o644), "TLS key", "warning", "others may read"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "made", "break_it", "where", "state", "said"), TLS, ids=[what for what, *_ in TLS])
def test_tls_is_looked_at_as_the_broker_will_use_it(
    own: Any, what: str, made: dict[str, Any], break_it: Break, where: str, state: str, said: str
) -> None:
    """Expired, mismatched and unreadable certificates are found before an agent finds them."""
    write_tls(own.directory, **made)
    break_it(own.directory)

    (finding,) = found(own.directory, where)

    assert (finding.state, said in finding.said) == (state, True), (what, finding)
    assert finding.mend or state == "fine"


@pytest.mark.parametrize(
    ("name", "fits"), [("access.example.com", True), ("*.example.com", True), ("*.com", False), ("example.com", False)]
)
def test_a_name_fits_a_certificate_as_clients_see_it(own: Any, name: str, fits: bool) -> None:  # noqa: FBT001
    """RFC 6125 §6.4.3: a wildcard stands for one label."""
    write_tls(own.directory, name=name)
    broker = own.directory / "broker.yaml"
    broker.write_text(broker.read_text().replace(f"http://127.0.0.1:{own.port}/mcp", "https://access.example.com/mcp"))

    assert (found(own.directory, "TLS name") == []) is fits


# --- With a broker ----------------------------------------------------------------------------------------------------

FAILING = [
    (Answer(path="/limits", status=403, body=[{"errorCode": "API_DISABLED", "message": "x"}]), "upstream_forbidden"),
    (Answer(path="/limits", status=503, body=""), "upstream_failed"),
    (Drop(path="/limits", times=3), "upstream_interrupted"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "code"), FAILING)
def test_a_grant_whose_service_fails_is_found(served: Any, fault: Any, code: str) -> None:
    """A real call is made, and its refusal's code says what to do."""
    served.service.faults.add(fault)

    (finding,) = found(served.directory, "grant salesforce")

    assert (finding.state, f"[{code}]" in finding.said) == ("wrong", True)
    assert finding.mend


def test_what_is_on_disk_and_not_in_force_is_found(served: Any) -> None:
    """A set that is right on disk and not loaded yet, or one with mistakes."""
    extra = served.directory / "x.yaml"
    extra.write_text(
        (served.directory / "policies/finance-analyst-readonly.yaml").read_text().replace("readonly", "more")
    )
    try:
        findings = {finding.what: finding for finding in examine(served.directory)}
    finally:
        extra.unlink()

    assert findings.get("in force", Finding("", "warning", "loaded meanwhile")).state == "warning"


def test_an_operators_socket_that_everyone_may_reach_is_found(served: Any) -> None:
    """The peer's user still decides, but nobody else should even knock."""
    operators = served.directory / "run/operators.sock"
    operators.chmod(0o666)
    try:
        (finding,) = found(served.directory, "sockets")
    finally:
        operators.chmod(0o600)

    assert (finding.state, "chmod 600" in finding.mend) == ("wrong", True)


@pytest.mark.slow
def test_a_grant_is_followed_through_its_life(aam: Aam, own: Any, service: Any, until: Any) -> None:
    """Not connected, working, revoked at the service, revoked here; and the service gone."""
    with own:
        assert [one.said for one in found(own.directory, "grant salesforce")] == ["no account is connected"]
        own.add_grant()
        assert [one.state for one in found(own.directory, "grant salesforce")] == ["fine"]
        denied = Answer(path="/oauth2/token", status=400, body={"error": "invalid_grant", "error_description": "x"})
        service.faults.add(denied)
        service.revoke_tokens()
        (revoked,) = found(own.directory, "grant salesforce")
        assert "reauthorization_needed" in revoked.said
        assert "approve the app" in revoked.mend
        service.faults.clear()
        connector = own.directory / "connectors/salesforce.yaml"
        digest = own.daemon.get("/v1/status")["documents"]["digest"]
        connector.write_text(connector.read_text().replace(service.url, "https://localhost:1"))
        until(lambda: own.daemon.get("/v1/status")["documents"]["digest"] != digest)
        (moved,) = found(own.directory, "grant salesforce")
        assert moved.state == "wrong"
        assert moved.mend
        assert aam("grants", "revoke", "salesforce", "--dir", own.directory).code in {0, 1}


def test_an_agent_that_runs_as_the_brokers_own_user_is_found(served: Any) -> None:
    """Such an agent could read the vault's key, whatever the policies say; only development may be so."""
    snapshot = load(served.directory)
    domains = {name: replace(domain, development=False) for name, domain in snapshot.trust_domains.items()}

    in_production = list(examining._agents(served.directory, replace(snapshot, trust_domains=domains)))

    assert [(finding.what, finding.state) for finding in in_production] == [("agent finance-analyst", "wrong")]
    assert list(examining._agents(served.directory, snapshot)) == []
