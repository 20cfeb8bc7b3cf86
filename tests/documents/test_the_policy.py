"""The policy that the project was asked for: accepted word for word, and what it means."""

import re
from pathlib import Path

import pytest

from broker.documents import FindConnector, load
from broker.identity import WorkloadIdentity
from broker.policy import AccessRequest

# architecture.md, The documents: "This document, word for word, must be accepted and mean what it says"
WORD_FOR_WORD = """\
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata:
  name: finance-analyst-readonly
spec:
  identity:
    workload: spiffe://prod/agent/finance-analyst
  models:
    allow: [reasoning-high, summarization]
    budget: { daily_usd: 75 }
  tools:
    - resource: salesforce.accounts
      actions: [read, search]
      deny: [export, update, delete]
  credentials:
    injection: runtime
    expose_to_agent: false
  audit:
    record: [identity, policy, action, outcome]
"""
AGENT = "spiffe://prod/agent/finance-analyst"
IDENTITY = WorkloadIdentity(AGENT, "prod", "jwt-svid", "attested", "sha256:0")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def with_the_policy(directory: Path) -> Path:
    """Put the policy into the set, as it was given."""
    (directory / "policy.yaml").write_text(WORD_FOR_WORD)
    return directory


def test_it_is_accepted_word_for_word(with_the_policy: Path, find: FindConnector) -> None:
    """architecture.md, The documents; the models have no routes yet, which is a warning each."""
    snapshot = load(with_the_policy, find)

    assert snapshot.policy_names == {AGENT: ("finance-analyst-readonly",)}
    assert [warning.key for warning in snapshot.warnings] == ["spec.models.allow[0]", "spec.models.allow[1]"]


@pytest.mark.parametrize(
    ("resource", "action", "effect", "reason", "place"),
    [
        ("salesforce.accounts", "read", "permit", "rule_permits", "tools[0].actions"),
        ("salesforce.accounts", "search", "permit", "rule_permits", "tools[0].actions"),
        ("salesforce.accounts", "export", "deny", "rule_denies", "tools[0].deny"),
        ("salesforce.accounts", "update", "deny", "rule_denies", "tools[0].deny"),
        ("salesforce.accounts", "delete", "deny", "rule_denies", "tools[0].deny"),
        ("salesforce.accounts", "describe", "deny", "no_rule_permits", None),
        ("salesforce.contacts", "read", "deny", "no_rule_permits", None),
        ("elsewhere.accounts", "read", "deny", "no_rule_permits", None),
    ],
)
def test_it_means_what_it_says(
    with_the_policy: Path,
    find: FindConnector,
    resource: str,
    action: str,
    effect: str,
    reason: str,
    place: str | None,
) -> None:
    """architecture.md, The documents: a decision names the rule that determined it."""
    policies = load(with_the_policy, find).policies_of(AGENT)

    decision = policies.decide(AccessRequest(IDENTITY, action, resource))

    assert (decision.effect, decision.reason) == (effect, reason)
    assert [rule.place for rule in decision.rules] == ([place] if place else [])


@pytest.mark.parametrize(
    "copy", ["policies/finance-analyst-readonly.yaml", "broker/starter/policies/finance-analyst-readonly.yaml"]
)
def test_the_copies_that_users_meet_are_the_same(copy: str) -> None:
    """Issue 2: the starter set has the policy as given; so have the examples, under a line of comment."""
    text = re.sub(r"\A(#.*\n)+", "", (ROOT / copy).read_text())

    assert text == WORD_FOR_WORD
