"""Where identities come from: bundles of every kind, and the listeners that believe in certificates."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.documents import FindConnector, Problem, load
from tests.support.low_x509 import Authority

Change = Callable[..., list[Problem]]
FILE = "{ file: bundle.json }"
SPIFFE = "{ url: 'https://spire.example.com/b', endpoint: 'spiffe://prod/spire/server', bootstrap: boot.json }"
ME = "root"


@pytest.fixture
def bootstrap(directory: Path) -> Path:
    """Write a bundle with an X.509 authority beside the documents."""
    path = directory / "boot.json"
    path.write_text(json.dumps({"keys": [Authority("prod").entry]}))
    return path


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{}", "name one of file, url and workload_api"),
        ("{ file: bundle.json, workload_api: 'unix:///run/a.sock' }", "name one of file, url and workload_api"),
        ("{ url: 'https://x.example', workload_api: 'unix:///run/a.sock' }", "name one of file, url and workload_api"),
        ("{ workload_api: run/agent.sock }", "unix:///an/absolute/path"),
        ("{ workload_api: 'unix://host/run/agent.sock' }", "unix:///an/absolute/path"),
        ("{ workload_api: 'tcp://localhost:8081' }", "unix:///an/absolute/path"),
        ("{ url: 'https://x.example', endpoint: 'spiffe://prod/spire/server' }", "belong together"),
        ("{ url: 'https://x.example', bootstrap: boot.json }", "belong together"),
        ("{ file: bundle.json, endpoint: 'spiffe://prod/s', bootstrap: boot.json }", "belong to a url"),
        ("{ url: 'https://x.example', endpoint: 'spiffe://prod', bootstrap: boot.json }", "not a SPIFFE ID"),
        (
            "{ url: 'https://x.example', endpoint: 'spiffe://prod/s', bootstrap: boot.json, certificate_authority: c }",
            "leave certificate_authority out",
        ),
        ("{ url: 'https://x.example', endpoint: 'spiffe://prod/s', bootstrap: gone.json }", "cannot be read"),
        ("{ url: 'https://x.example', endpoint: 'spiffe://prod/s', bootstrap: bundle.json }", "no X.509 authority"),
    ],
)
def test_a_source_that_could_be_read_in_two_ways_is_a_mistake(
    change: Change, bootstrap: Path, source: str, words: str
) -> None:
    """Issue 4, SPIFFE: the profile, the endpoint and the trust domain are the operator's word (Federation §5.2)."""
    assert bootstrap.exists()
    assert change("domain.yaml", FILE, SPIFFE) == []

    (problem, *_) = [one for one in change("domain.yaml", SPIFFE, source) if one.severity == "error"]

    assert words in problem.message
    assert problem.file == "domain.yaml"


def test_the_workload_api_needs_its_extra(change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    """Project rule: heavy things are optional, and what is missing is said clearly, at load."""
    api = "{ workload_api: 'unix:///run/spire/agent.sock' }"
    assert change("domain.yaml", FILE, api) == []
    monkeypatch.setattr("broker.documents.trust.is_installed", lambda: False)

    (problem,) = change("domain.yaml", "environment: production", "environment: production")

    assert problem.key == "spec.bundle.workload_api"
    assert "agent-access-manager[workload-api]" in problem.message


def test_a_bundle_of_authorities_alone_is_one(directory: Path, find: FindConnector, bootstrap: Path) -> None:
    """Bundle §4: a trust domain may sign certificates and no tokens; that is no revoked domain."""
    (directory / "bundle.json").write_text(bootstrap.read_text())

    snapshot = load(directory, find)

    assert snapshot.trust_sources["prod"].bundle.authorities  # type: ignore[union-attr]
    assert not [warning for warning in snapshot.warnings if "revoked" in warning.message]


def test_a_bundle_map_is_read_for_the_domains_own_entry(directory: Path, find: FindConnector) -> None:
    """SPIFFE_Federation, Bundle Map: several domains in one document, each for itself."""
    bundle = json.loads((directory / "bundle.json").read_text())
    other = {"keys": [], "spiffe_sequence": 9}
    (directory / "bundle.json").write_text(json.dumps({"trust_domains": {"other.example": other, "prod": bundle}}))

    found = load(directory, find).trust_sources["prod"].bundle

    assert found is not None
    assert len(found.keys) == 1
    assert found.refresh_hint is None


@pytest.mark.parametrize("domains", ['{"other.example": {"keys": []}}', "{}", "[]", '{"prod": []}', '{"prod": {}}'])
def test_a_bundle_map_without_the_domain_is_a_mistake(
    directory: Path, problems: Callable[[], list[Problem]], domains: str
) -> None:
    """Absent means less: another domain's entry is none of ours."""
    assert problems() == []
    (directory / "bundle.json").write_text(f'{{"trust_domains": {domains}}}')

    (problem,) = problems()

    assert problem.key == "spec.bundle.file"


# --- Listeners --------------------------------------------------------------------------------------------------------


def listening(change: Change, listen: str) -> list[Problem]:
    """Return what is wrong with a Broker document that listens so."""
    return change("broker.yaml", "  audience:", f"  listen: {listen}\n  audience:")


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("{}", "either a socket or an http address"),
        ("{ socket: p.sock, http: '127.0.0.1:1', user: root }", "either a socket or an http address"),
        ("{ socket: p.sock }", "a socket needs 'user'"),
        ("{ http: '127.0.0.1:8471' }", "only_the_proxy_reaches_it: true"),
        ("{ http: '0.0.0.0:8471', only_the_proxy_reaches_it: true }", "loopback"),
        ("{ http: '192.0.2.1:8471', only_the_proxy_reaches_it: true }", "loopback"),
        ("{ socket: run/agents.sock, user: root }", "each needs its own"),
    ],
)
def test_a_proxys_listener_that_others_could_reach_is_a_mistake(change: Change, proxy: str, words: str) -> None:
    """Issue 4, SPIFFE: only from a listener that the proxy alone reaches, by an explicit statement."""
    problems = [one for one in listening(change, f"{{ proxy: {proxy} }}") if one.severity == "error"]

    assert [words in problem.message for problem in problems] == [True]


@pytest.mark.parametrize(
    "proxy", ["{ socket: p.sock, user: root }", "{ http: '[::1]:8471', only_the_proxy_reaches_it: true }"]
)
def test_a_proxys_listener_is_right(change: Change, proxy: str) -> None:
    """Issue 4, SPIFFE: a Unix socket of one user, or a loopback address with a statement."""
    assert listening(change, f"{{ proxy: {proxy} }}") == []


def test_an_agent_that_could_be_the_proxys_user_is_a_mistake(change: Change) -> None:
    """Issue 4, SPIFFE: an agent as whom the proxy is believed could pass for any agent."""
    change("domain.yaml", "  development: true\n", "")
    assert listening(change, "{ proxy: { socket: p.sock, user: '4000000003' } }") == []

    (problem,) = change("broker.yaml", "4000000003", "4000000002")

    assert (problem.file, problem.key) == ("agent.yaml", "spec.selectors")
    assert "pass for any agent" in problem.message


def test_the_proxys_user_may_be_unknown_here(change: Change, directory: Path, find: FindConnector) -> None:
    """Documents are checked on other machines than the broker's."""
    assert listening(change, "{ proxy: { socket: p.sock, user: nobody-of-this-name } }") == []

    assert "nobody-of-this-name" in " ".join(warning.message for warning in load(directory, find).warnings)


def test_client_certificates_behind_a_tls_proxy_are_a_mistake(change: Change) -> None:
    """Issue 4, SPIFFE: who terminates TLS sees the certificates; the broker would ask nobody."""
    (problem,) = listening(change, "{ client_certificates: true, behind_tls_proxy: true }")

    assert problem.key == "spec.listen.client_certificates"


def test_a_python_that_gives_no_chain_is_warned_of(
    change: Change, directory: Path, find: FindConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 4, SPIFFE: support what can be sound, and say what cannot be."""

    def warnings() -> str:
        return " ".join(warning.message for warning in load(directory, find).warnings)

    assert listening(change, "{ client_certificates: true }") == []
    assert ("Python 3.13" in warnings()) == (sys.version_info < (3, 13))

    monkeypatch.setattr("broker.documents.certificates.CHAINS_FROM", (99, 0))

    assert "an intermediate authority has signed are refused" in warnings()
