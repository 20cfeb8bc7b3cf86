"""Rules that decide nothing are reported when documents are loaded, and no others are."""

import dataclasses
import datetime
from typing import Any

import pytest

from broker.policy import AgentPolicyDocument, shadows
from tests.support.policies import AGENT, NOW, OFFERED, decide, policy, united

PAST, SOON = NOW - datetime.timedelta(hours=1), NOW + datetime.timedelta(hours=1)
READ = {"resource": "crm.accounts", "actions": ["read"]}


def reported(*policies: AgentPolicyDocument) -> list[tuple[str, str, str]]:
    """Return policy, place and the first words of what is reported."""
    return [(rule.policy, rule.place, why.partition(":")[0]) for rule, why in shadows(united(*policies), AGENT, NOW)]


MEANINGLESS: list[tuple[list[dict[str, Any]], str, str]] = [
    ([{**READ, "valid_until": PAST}], "tools[0].actions", "does not apply any more"),
    ([{**READ, "when": "1 > 2"}], "tools[0].actions", "can never apply"),
    ([{**READ, "when": "agent.team == 'audit'"}], "tools[0].actions", "can never apply"),
    ([{"resource": "crm.accounts", "deny": ["read"], "when": "false"}], "tools[0].deny", "can never apply"),
    ([READ, {"resource": "crm.*", "deny": ["*"]}], "tools[0].actions", "permits nothing"),
    ([{**READ, "fields": ["Name"]}, {"resource": "crm.*", "actions": ["read"]}], "tools[0].actions", "changes nothing"),
    ([{**READ, "approval": {}}, {"resource": "*", "actions": ["*"]}], "tools[0].actions", "changes nothing"),
    ([{**READ, "when": "arguments.amount < 5"}, READ], "tools[0].actions", "changes nothing"),
    ([{**READ, "fields": ["Name"]}, {**READ, "fields": ["Name", "Phone"]}], "tools[0].actions", "changes nothing"),
    (
        [{"resource": "crm.accounts", "deny": ["read"], "when": "arguments.amount < 5"},
         {"resource": "crm.*", "deny": ["read", "update"]}],
        "tools[0].deny", "changes nothing",
    ),
]  # fmt: skip

MEANINGFUL: list[list[dict[str, Any]]] = [
    [READ, READ],
    [{**READ, "valid_from": SOON}],
    [{**READ, "when": "agent.team == 'finance'"}],
    [{**READ, "when": "context.assurance == 'attested'"}],
    [{**READ, "fields": ["Name"]}, {**READ, "when": "arguments.amount < 5"}],
    [{**READ, "fields": ["Name"]}, {"resource": "crm.contacts", "actions": ["read"]}],
    [{"resource": "crm.*", "actions": ["read"], "fields": ["Name"]}, READ],
    [{**READ, "actions": ["read", "search"], "fields": ["Name"]}, READ],
    [{**READ, "filter": "A = :on_behalf_of.email"}, {**READ, "filter": "B = 1"}],
    [{**READ, "limits": {"calls_per_day": 5}}, READ],
    [READ, {"resource": "crm.accounts", "deny": ["read"], "when": "arguments.amount < 5"}],
    [{"resource": "crm.*", "actions": ["*"]}, {"resource": "crm.accounts", "deny": ["read"]}],
]


@pytest.mark.parametrize(("rules", "place", "words"), MEANINGLESS)
def test_a_rule_that_decides_nothing_is_reported(rules: list[dict[str, Any]], place: str, words: str) -> None:
    """Issue 4: a rule that can never match or is unconditionally shadowed is reported at load."""
    assert ("p0", place, words) in reported(policy(*rules))


@pytest.mark.parametrize("rules", MEANINGFUL)
def test_a_rule_that_decides_something_is_not(rules: list[dict[str, Any]]) -> None:
    """A warning that cries wolf is read once."""
    assert reported(policy(*rules)) == []


def test_another_policys_rule_counts_too() -> None:
    """All policies of an agent are united."""
    wide = policy({"resource": "*", "actions": ["*"]})

    assert reported(policy({**READ, "max_records": 5}), wide) == [("p0", "tools[0].actions", "changes nothing")]


@pytest.mark.parametrize(("rules", "place", "words"), MEANINGLESS)
def test_what_is_reported_makes_no_difference(rules: list[dict[str, Any]], place: str, words: str) -> None:
    """The report is true: without the rule, every call is decided as with it."""
    del place, words
    for resource, actions in OFFERED.items():
        for action in actions:
            for amount in (1, 9):
                asked: dict[str, Any] = {"resource": resource, "action": action, "arguments": {"amount": amount}}
                with_it, without = decide(policy(*rules), **asked), decide(policy(*rules[1:]), **asked)
                assert (with_it.effect, with_it.scope) == (without.effect, without.scope)


def test_a_condition_on_an_agent_that_is_not_registered_is_left_alone() -> None:
    """Nobody knows its team."""
    policies = united(policy({**READ, "when": "agent.team == 'audit'"}))

    assert list(shadows(policies, None, NOW)) == []
    assert list(shadows(policies, dataclasses.replace(AGENT, team="audit"), NOW)) == []
