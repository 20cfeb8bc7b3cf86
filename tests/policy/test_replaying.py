"""What can be said of a request of which the trail has no arguments, and what cannot."""

import datetime
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.policy import UNKNOWN, UNKNOWN_EMAIL, replayed
from tests.policy.test_laws import SETS, Spec, unite
from tests.support.policies import NOW, policy, request, united

READ = {"resource": "crm.accounts", "actions": ["read"]}
SMALL = {**READ, "when": "arguments.amount < 100"}
LARGE_DENIED = {"resource": "crm.accounts", "deny": ["read"], "when": "arguments.amount > 100"}

TABLE: list[tuple[list[dict[str, Any]], str]] = [
    ([READ], "permit"),
    ([], "deny"),
    ([SMALL], "undetermined"),
    ([SMALL, READ], "permit"),
    ([READ, LARGE_DENIED], "undetermined"),
    ([LARGE_DENIED], "deny"),
    ([SMALL, {"resource": "crm.accounts", "deny": ["read"]}], "deny"),
    ([SMALL, {**READ, "approval": {}}], "undetermined"),
    ([{**READ, "when": "agent.team == 'finance'"}], "permit"),
    ([{**READ, "when": "on_behalf_of.email == 'jane@example.com'"}], "undetermined"),
    ([{**READ, "when": "on_behalf_of.subject == 'jane'"}], "permit"),
    ([{**READ, "filter": "Owner.Email = :on_behalf_of.email"}], "undetermined"),
]


def told_of(delegated: bool = True) -> Any:  # noqa: FBT001, FBT002 - a table's helper
    """Return a request as the trail tells of it."""
    return replace(request(delegated=delegated), unknown=UNKNOWN_EMAIL if delegated else UNKNOWN)


@pytest.mark.parametrize(("rules", "wanted"), TABLE)
def test_what_the_trail_cannot_tell_is_undetermined(rules: list[dict[str, Any]], wanted: str) -> None:
    """Issue 4: conditions on arguments that were only digested are reported as undetermined."""
    assert replayed(united(policy(*rules)), told_of())[0] == wanted


def test_what_is_only_observed_is_denied_in_the_end() -> None:
    """A replay of a set that is being rolled out says what will be refused."""
    observing = policy(READ, enforcement="observe", observe={"until": NOW + datetime.timedelta(days=1)})
    asked = replace(told_of(), action="search")

    assert united(observing).decide(asked).effect == "permit"
    assert replayed(united(observing), asked)[0] == "deny"


@settings(max_examples=60)
@given(SETS, st.sampled_from(["read", "update"]), st.sampled_from([None, 1, 100, "x"]), st.booleans())
def test_what_is_determined_is_what_is_decided(specs: list[Spec], action: str, amount: Any, delegated: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever the arguments were: a replay that says more than it knows would be believed."""
    policies = unite(specs)
    asked = request({"amount": amount} if amount is not None else {}, action, delegated=delegated)
    decision = policies.decide(asked)
    becomes = "deny" if decision.reason == "observed" else decision.effect

    effect, _ = replayed(policies, replace(asked, arguments={}, unknown=UNKNOWN_EMAIL if delegated else UNKNOWN))

    assert effect in (becomes, "undetermined")
