"""Budget documents and the budgets of policies: what is accepted, what it means, and what is wrong with the rest."""

from pathlib import Path

import pytest

from broker.documents import Invalid, load
from broker.policy import Cap
from tests.support.documents import ANALYST, HEAD, OTHER, Written
from tests.support.serve import find

BUDGETS = f"""{HEAD}kind: Budget
metadata: {{name: finance}}
spec: {{team: finance, monthly_usd: 1000.10, timezone: Europe/Berlin}}
---
{HEAD}kind: Budget
metadata: {{name: everybody}}
spec: {{organisation: true, weekly_usd: 5000}}
"""


def policy(name: str, models: str) -> str:
    """Return a policy of the analyst's that speaks of models only."""
    spec = f"{{identity: {{workload: '{ANALYST}'}}, models: {models}}}"
    return f"{HEAD}kind: AgentPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def found(written: Written, workload: str) -> dict[tuple[str, str, str], Cap]:
    """Return the caps of an agent by what they count."""
    allowance = load(written.directory, find).allowance_of(workload)
    return {(cap.whose, cap.unit, cap.period): cap for cap in allowance.caps}


def test_every_budget_of_an_agent_applies(written: Written) -> None:
    """Issue 7: per agent in its policy, per team and owner in Budget documents, with a time zone."""
    written.put("budgets.yaml", BUDGETS)
    written.put("one.yaml", policy("one", "{budget: {daily_usd: 75}}"))

    mine, others = found(written, ANALYST), found(written, OTHER)

    assert mine["agent", "nano_usd", "day"].amount == 75 * 10**9
    assert mine["team", "nano_usd", "month"].amount == 1_000_100_000_000
    assert mine["team", "nano_usd", "month"].zone == "Europe/Berlin"
    assert set(others) == {("team", "nano_usd", "month"), ("organisation", "nano_usd", "week")}
    assert load(written.directory, find).allowance_of("spiffe://prod/agent/stranger").caps == ()


def test_of_several_policies_the_tightest_budget_binds_and_each_limit_of_calls_at_once(written: Written) -> None:
    """architecture.md: several policies for one agent: every budget and limit applies."""
    written.put("one.yaml", policy("one", "{budget: {daily_usd: 75}, limits: {tokens_per_minute: 10, concurrent: 9}}"))
    written.put("two.yaml", policy("two", "{budget: {daily_usd: 50, weekly_usd: 60}, limits: {concurrent: 4}}"))

    caps = found(written, ANALYST)

    assert caps["agent", "nano_usd", "day"].source == "two"
    assert caps["agent", "tokens", "minute"].amount == 10
    assert ("agent", "nano_usd", "week") in caps
    assert load(written.directory, find).allowance_of(ANALYST).concurrent == (("one", 9), ("two", 4))


@pytest.mark.parametrize(
    ("spec", "key", "words"),
    [
        ("{team: finance}", "spec", "names no amount"),
        ("{daily_usd: 1}", "spec", "names whose it is"),
        ("{team: finance, owner: jane@example.com, daily_usd: 1}", "spec", "names whose it is"),
        ("{team: finance, daily_usd: -1}", "spec.daily_usd", "0"),
        ("{team: finance, daily_usd: .inf}", "spec.daily_usd", ""),
        ("{team: finance, daily_usd: 1, timezone: Europe/Berlyn}", "spec.timezone", "IANA time zone"),
        ("{team: finance, daily_usd: 1, timezone: ../UTC}", "spec.timezone", "IANA time zone"),
        ("{team: finance, dayly_usd: 1}", "spec.dayly_usd", "daily_usd"),
        ("{team: finance, daily_usd: 1, alerts: [101]}", "spec.alerts[0]", "100"),
        ("{team: finance, daily_usd: 1, webhook: 'http://chat.example.com/'}", "spec.webhook", ""),
        ("{team: finance, daily_usd: 1, webhook: 'https://10.0.0.1/hook'}", "spec.webhook", "private"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(written: Written, spec: str, key: str, words: str) -> None:
    """Bad input gets an error naming file, line and key, and the set in force stays."""
    written.put("budgets.yaml", f"{HEAD}kind: Budget\nmetadata: {{name: wrong}}\nspec: {spec}\n")

    with pytest.raises(Invalid) as refused:
        load(written.directory, find)

    (problem,) = [one for one in refused.value.problems if Path(one.file).name == "budgets.yaml"]
    assert (problem.key, words in problem.message) == (key, True), str(problem)


def test_a_budget_for_nobody_is_warned_of(written: Written) -> None:
    """A typing mistake in a team's name would let the team spend what it likes."""
    written.put("budgets.yaml", BUDGETS.replace("team: finance", "team: finanse"))

    (warning,) = [str(one) for one in load(written.directory, find).warnings if "finanse" in str(one)]

    assert "did you mean 'finance'" in warning
