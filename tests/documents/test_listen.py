"""What 'aam serve' would refuse of the Broker document is found when the documents are checked."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from broker.documents import FindConnector, Invalid, Problem, load
from broker.documents.listen import LONGEST_SOCKET_PATH
from broker.testing.certificates import CertificateAuthority

Change = Callable[..., list[Problem]]
Broker = Callable[[str], list[Problem]]


@pytest.fixture
def broker(change: Change) -> Broker:
    """Add a line to the Broker's spec and return what is wrong then."""
    return lambda line: change("broker.yaml", "  key:", f"  {line}\n  key:")


@pytest.fixture
def certificates(directory: Path) -> Path:
    """Put two certificates with their keys beside the documents."""
    authority = CertificateAuthority(directory / "tls")
    authority.issue("one")
    authority.issue("two")
    return directory / "tls"


def keys(problems: list[Problem]) -> list[tuple[int, str]]:
    """Return where each problem is."""
    return [(problem.line, problem.key) for problem in problems]


@pytest.mark.parametrize("address", ["0.0.0.0:8470", "[::]:8470", "10.1.2.3:0"])
def test_a_network_address_without_tls_is_a_warning_that_names_the_option(
    broker: Broker, directory: Path, find: FindConnector, address: str
) -> None:
    """architecture.md, Processes and people: refused by serve, unless the command line brings the certificate."""
    assert broker(f"listen: {{ http: '{address}' }}") == []

    (warning,) = load(directory, find).warnings

    assert (warning.line, warning.key) == (8, "spec.listen.http")
    assert "--tls-cert" in warning.message


@pytest.mark.parametrize(
    "listen",
    [
        "http: '0.0.0.0:8470', behind_tls_proxy: true",
        "http: '0.0.0.0:8470', tls: { certificate: tls/one.pem, key: tls/one-key.pem }",
        "http: '127.0.0.2:8470'",
        "http: '[::1]:8470'",
    ],
)
def test_an_address_that_something_protects_is_right(
    broker: Broker, certificates: Path, find: FindConnector, listen: str
) -> None:
    """TLS, or loopback, or an explicit "behind a TLS proxy"."""
    assert broker(f"listen: {{ {listen} }}") == []
    assert load(certificates.parent, find).warnings == ()


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("listen: { operators_socket: run/agents.sock }", "spec.listen.operators_socket"),
        ("listen: { agents_socket: ./run/../run/operators.sock }", "spec.listen.agents_socket"),
        ("listen: { agents_socket: data/broker.db }", "spec.listen.agents_socket"),
        ("store: run/operators.sock", "spec.store"),
        ("listen: { operators_socket: x.sock, agents_socket: x.sock }", "spec.listen.operators_socket"),
    ],
)
def test_two_things_at_one_path_are_a_mistake(broker: Broker, line: str, key: str) -> None:
    """The default of one is no excuse for the other; what is written is what can be mended."""
    found = broker(line)

    assert keys(found) == [(8, key)]
    assert "each needs its own" in found[0].message


def test_the_store_at_the_keys_path_is_a_mistake(broker: Broker) -> None:
    """Opening the one would destroy the other."""
    assert keys(broker("store: secrets/vault.key")) == [(9, "spec.key.path")]


def test_a_key_that_is_no_file_has_no_path(change: Change) -> None:
    """A name in the keyring may be anything."""
    assert change("broker.yaml", "{ source: file, path: secrets/vault.key }", "{ source: keyring }") == []


@pytest.mark.parametrize(("extra", "wrong"), [(0, False), (1, True)])
@pytest.mark.parametrize("key", ["agents_socket", "operators_socket"])
def test_a_socket_path_that_no_socket_can_have_is_a_mistake(
    broker: Broker, tmp_path: Path, key: str, extra: int, *, wrong: bool
) -> None:
    """What counts is the whole path, in bytes."""
    path = f"{tmp_path}/é"
    path += "x" * (LONGEST_SOCKET_PATH - len(path.encode()) + extra)

    found = broker(f"listen: {{ {key}: {path} }}")

    assert keys(found) == [(8, f"spec.listen.{key}")] * wrong


def test_a_socket_path_that_is_too_long_in_this_directory_is_a_warning(
    directory: Path, problems: Callable[[], list[Problem]], find: FindConnector
) -> None:
    """Documents are checked on other machines too, where the same set may lie less deep."""
    deep = directory / ("d" * LONGEST_SOCKET_PATH)
    deep.mkdir()
    (directory / "broker.yaml").rename(deep / "broker.yaml")

    assert problems() == []
    assert [warning.key for warning in load(directory, find).warnings] == [
        "spec.listen.agents_socket", "spec.listen.operators_socket"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("certificate", "key", "place", "words"),
    [
        ("tls/none.pem", "tls/one-key.pem", ".certificate", "cannot be read: No such file"),
        ("tls/one.pem", "tls/none.pem", ".key", "cannot be read: No such file"),
        ("tls/one.pem", "tls", ".key", "cannot be read: it is not a regular file"),
        ("tls/one.pem", "tls/two-key.pem", "", "does not belong to the certificate"),
        ("domain.yaml", "tls/one-key.pem", "", "in PEM form"),
        ("tls/one.pem", "tls/one.pem", "", "in PEM form"),
        ("tls/one.pem", "tls/locked.pem", "", "without a passphrase"),
    ],
)
def test_tls_files_that_cannot_serve_are_a_mistake(
    broker: Broker, certificates: Path, certificate: str, key: str, place: str, words: str
) -> None:
    """Whatever the command line may bring instead: what is configured must be usable."""
    _lock(certificates / "one-key.pem", certificates / "locked.pem")

    found = broker(f"listen: {{ tls: {{ certificate: {certificate}, key: {key} }} }}")

    assert keys(found) == [(8, f"spec.listen.tls{place}")]
    assert words in found[0].message


def test_both_tls_files_that_are_missing_are_reported(broker: Broker) -> None:
    """Every mistake at once."""
    assert keys(broker("listen: { tls: { certificate: a.pem, key: b.pem } }")) == [
        (8, "spec.listen.tls.certificate"),
        (8, "spec.listen.tls.key"),
    ]


def test_a_mistake_of_the_broker_hides_none_of_these(
    broker: Broker, change: Change, directory: Path, find: FindConnector
) -> None:
    """What is right in itself is checked, though the document is not."""
    broker("listen: { http: '0.0.0.0:1', agents_socket: a, operators_socket: a, hosts: 7 }")

    found = change("broker.yaml", "role: admin", "role: root")

    assert sorted(problem.key for problem in found) == [
        "spec.listen.hosts", "spec.listen.operators_socket", "spec.operators[0].role"
    ]  # fmt: skip
    with pytest.raises(Invalid) as refused:
        load(directory, find)
    assert [warning.key for warning in refused.value.warnings] == ["spec.listen.http"]


def _lock(key: Path, locked: Path) -> None:
    """Write a private key once more, under a passphrase."""
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    text = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    locked.write_bytes(text)


METRICS = "listen: {{ metrics: {{ {} }} }}"


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ("", "token_file"),
        ("http: '127.0.0.1:9464'", "any local process reaches"),
        ("http: '0.0.0.0:9464', token_file: secrets/metrics.token", "needs TLS"),
        ("http: 'localhost:9464', token_file: secrets/metrics.token", "must be an address and a port"),
    ],
)
def test_metrics_that_others_could_read_are_a_mistake(broker: Broker, metrics: str, said: str) -> None:
    """Issue 7, metrics: strangers learn nothing; agents on the same machine are strangers, too."""
    (problem,) = broker(METRICS.format(metrics))

    assert problem.key.startswith("spec.listen.metrics")
    assert said in problem.message


@pytest.mark.parametrize(
    "metrics",
    [
        "token_file: secrets/metrics.token",
        "http: '10.1.2.3:9464', token_file: t, tls: { certificate: tls/one.pem, key: tls/one-key.pem }",
        "http: '0.0.0.0:9464', only_monitoring_reaches_it: true",
    ],
)
def test_metrics_behind_a_token_or_an_explicit_word_are_right(broker: Broker, certificates: Path, metrics: str) -> None:
    """Issue 7, metrics: a token, TLS where it leaves the machine, or somebody who says that nobody else is there."""
    assert certificates.is_dir()
    assert broker(METRICS.format(metrics)) == []


def test_a_token_that_is_the_vaults_key_is_a_mistake(broker: Broker) -> None:
    """Whoever scrapes would hold what opens every grant."""
    assert [problem.key for problem in broker(METRICS.format("token_file: secrets/vault.key"))] == [
        "spec.listen.metrics.token_file"
    ]


def test_a_certificate_of_the_metrics_that_fits_no_key_is_found(broker: Broker, certificates: Path) -> None:
    """As for the agents' listener."""
    assert certificates.is_dir()
    files = "token_file: t, tls: { certificate: tls/one.pem, key: tls/two-key.pem }"

    assert [problem.key for problem in broker(METRICS.format(files))] == ["spec.listen.metrics.tls"]
