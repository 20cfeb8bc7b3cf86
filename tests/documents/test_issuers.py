"""The Issuer documents: what is wrong with one, where, and what is said."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.documents import FindConnector, Problem, load
from tests.support.issuers import key_set

Change = Callable[..., list[Problem]]

ISSUER = """\
apiVersion: access.envisionai.dev/v1
kind: Issuer
metadata: { name: github }
spec:
  issuer: https://token.actions.githubusercontent.com
  environment: production
  agents:
    - agent: finance-analyst
      claims: { repository_id: "4711", environment: production }
"""
REVIEW = "environment: production\n  token_review: { url: 'https://10.0.0.1' }"
# what stands there, what stands there instead, line, key, words of the message
MISTAKES = [
    ("agent: finance-analyst", "agent: finance-analist", 8, "spec.agents[0].agent", "did you mean 'finance-analyst'?"),
    ("environment: production\n", "environment: staging\n", 8, "spec.agents[0].agent", "tokens are of 'staging'"),
    ('"4711"', "null", 9, "spec.agents[0].claims", "nothing else is compared"),
    ('"4711"', "[4711]", 9, "spec.agents[0].claims", "nothing else is compared"),
    ('repository_id: "4711", environment: production', "aud: x", 8, "spec.agents[0]", "say whose tokens are meant"),
    ("claims:", "client: a\n      actor: b\n      claims:", 8, "spec.agents[0]", "either a client or an actor"),
    ("claims:", "clams:", 9, "spec.agents[0].clams", "did you mean 'claims'?"),
    ("https://token", "http://token", 5, "spec.issuer", "for example: https://"),
    (
        "issuer: https://token.actions.githubusercontent.com",
        "issuer: https://10.0.0.1",
        5,
        "spec.issuer",
        "not a public",
    ),
    ("  agents:", "  keys: { url: 'https://10.0.0.1/k' }\n  agents:", 7, "spec.keys.url", "not a public address"),
    ("  agents:", "  keys: { file: nothing.json }\n  agents:", 7, "spec.keys.file", "cannot be read"),
    ("  agents:", "  keys: { file: agent.yaml }\n  agents:", 7, "spec.keys.file", "not a key set"),
    ("  agents:", "  keys: { file: a, url: 'https://a.example' }\n  agents:", 7, "spec.keys", "not both"),
    ("  agents:", "  required_scopes: ['a b']\n  agents:", 7, "spec.required_scopes[0]", "for example: agent-access"),
    ("  agents:", "  longest_lifetime_seconds: 1\n  agents:", 7, "spec.longest_lifetime_seconds", "30 or more"),
    ("environment: production\n", REVIEW + "\n", 7, "spec.token_review.url", "not a public address"),
]


@pytest.fixture
def issuer_file(directory: Path) -> Path:
    """Add an Issuer document that is right."""
    path = directory / "issuer.yaml"
    path.write_text(ISSUER)
    return path


@pytest.mark.parametrize(("old", "new", "line", "key", "words"), MISTAKES)
def test_a_mistake_is_told_with_its_place_and_what_to_do(
    issuer_file: Path, change: Change, old: str, new: str, line: int, key: str, words: str
) -> None:
    """Issue 4: the new kind is checked by `aam check` with clear mistakes."""
    (problem, *_) = change(issuer_file.name, old, new)

    assert (problem.file, problem.line, problem.key) == ("issuer.yaml", line, key)
    assert words in problem.message


def test_the_document_means_what_it_says(issuer_file: Path, directory: Path, find: FindConnector) -> None:
    """Its audience is the broker's unless it says otherwise; its keys are discovered unless it says where they are."""
    snapshot = load(directory, find)

    issuer = snapshot.issuers["https://token.actions.githubusercontent.com"]
    source = snapshot.issuer_sources[issuer.issuer]
    assert issuer.audience == "http://127.0.0.1:8470/mcp"
    assert issuer.rule_for({"repository_id": "4711", "environment": "production"}).workload.endswith("/finance-analyst")
    assert (source.keys, source.key_url, source.review_server) == (None, None, None)
    assert issuer_file.read_text() == ISSUER


def test_a_cluster_may_be_known_by_its_keys_its_api_server_or_both(
    issuer_file: Path, directory: Path, find: FindConnector
) -> None:
    """Issue 4: JWKS verification, and TokenReview."""
    (directory / "cluster.json").write_bytes(key_set())
    review = "  token_review: { url: 'https://10.0.0.1', private_ranges: [10.0.0.0/8] }\n"
    issuer_file.write_text(ISSUER + review)
    reviewed = next(iter(load(directory, find).issuers.values()))
    issuer_file.write_text(ISSUER + review + "  keys: { file: cluster.json }\n")
    both = next(iter(load(directory, find).issuers.values()))

    assert (reviewed.has_keys, reviewed.is_reviewed) == (False, True)
    assert (both.has_keys, both.is_reviewed) == (True, True)


def test_a_trust_domain_needs_no_bundle_where_nobody_has_svids(directory: Path, find: FindConnector) -> None:
    """Who has no SPIRE has agents all the same: their names need a domain and an environment, and no keys of it."""
    domain = (directory / "domain.yaml").read_text()
    (directory / "domain.yaml").write_text(domain.replace("  bundle: { file: bundle.json }\n", ""))

    snapshot = load(directory, find)

    assert (set(snapshot.trust_domains), snapshot.trust_sources) == ({"prod"}, {})


def test_an_issuer_is_configured_once(issuer_file: Path, change: Change) -> None:
    """Which of two documents counts would be anybody's guess."""
    (problem,) = change(issuer_file.name, ISSUER, ISSUER + "---\n" + ISSUER.replace("name: github", "name: again"))

    assert "is configured already, as 'github'" in problem.message


@pytest.mark.parametrize(
    "other",
    [
        {"claims": {"repository_id": "4711"}},
        {"claims": {"repository_id": "4711", "environment": "production", "ref": "refs/heads/main"}},
        {"claims": {"environment": "production", "repository_id": "4711"}},
    ],
)
def test_a_rule_that_includes_another_is_a_mistake(issuer_file: Path, change: Change, other: dict[str, object]) -> None:
    """What both fit would be refused: say it at load and not at the first call."""
    second = f"    - {json.dumps({'agent': 'finance-analyst', **other})}\n"

    (problem,) = change(issuer_file.name, ISSUER, ISSUER + second)

    assert (problem.key, "fitted by both" in problem.message) == ("spec.agents[1]", True)


def test_rules_that_differ_in_a_value_or_a_type_are_two(issuer_file: Path, change: Change) -> None:
    """The positive control: `1` is not `true`, and neither is `"1"`."""
    rules = [{"agent": "finance-analyst", "claims": {"sub": value}} for value in (1, True, "1", "2")]
    rules += [{"agent": "finance-analyst", "client": name} for name in ("a", "b")]
    rules += [{"agent": "finance-analyst", "actor": name} for name in ("a", "b")]

    assert change(issuer_file.name, ISSUER, ISSUER + "".join(f"    - {json.dumps(rule)}\n" for rule in rules)) == []


def test_what_may_be_meant_otherwise_is_warned_of(issuer_file: Path, directory: Path, find: FindConnector) -> None:
    """A person's token that would count as the agent's own; an issuer whose tokens stand for nobody."""
    rule = "    - { agent: finance-analyst, claims: { client_id: app } }\n"
    issuer_file.write_text(ISSUER + rule)
    own = [warning.message for warning in load(directory, find).warnings]
    issuer_file.write_text(ISSUER.partition("  agents:")[0])
    nobody = [warning.message for warning in load(directory, find).warnings]

    assert any("write it as 'client'" in message for message in own)
    assert any("stand for nobody" in message for message in nobody)
