"""`aam budget` and `aam spend`: what an operator types, and what they say."""

import asyncio
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.budget import Ask, Target, Usage, rates_of
from tests.budget.conftest import NOON
from tests.conftest import Serve
from tests.doors.test_operators import OPERATORS, connecting_as
from tests.support.broker import ServedBroker, until
from tests.support.documents import ANALYST, HEAD

Aam = Callable[..., Any]
BUDGETS = f"""{HEAD}kind: AgentPolicy
metadata: {{name: models}}
spec:
  identity: {{workload: '{ANALYST}'}}
  models: {{budget: {{daily_usd: 75, timezone: Europe/Berlin, alerts: []}}}}
---
{HEAD}kind: Budget
metadata: {{name: finance}}
spec: {{team: finance, weekly_usd: 500, on_insufficient: clamp, alerts: []}}
"""


MISUSES = [
    ("budget", ["show"], "Name one agent"),
    ("budget", ["show", "x", "--team", "y"], "Name one agent"),
    ("budget", ["show", "analyts"], "did you mean 'analyst'?"),
    ("budget", ["raise", "analyst", "--by", "1", "--until", "soon", "--reason", "x"], "--until is 8h"),
    ("budget", ["raise", "analyst", "--by", "1", "--until", "2027-01-01", "--reason", "x"], "with its zone"),
    ("budget", ["raise", "analyst", "--by", "one", "--until", "1h", "--reason", "x"], "by_usd"),
    ("budget", ["raise", "analyst", "--by", "1", "--until", "1h", "--period", "year", "--reason", "x"], "no period"),
    ("budget", ["raise", "analyst", "--by", "1", "--until", "1h", "--period", "week", "--reason", "x"], "for a day"),
    ("budget", ["withdraw", "x", "--reason", "x"], "aam budget raises"),
    ("budget", ["acknowledge", "x", "--reason", "x"], "aam budget overruns"),
    ("spend", ["--by", "modle"], "did you mean 'model'?"),
    ("spend", ["--since", "May"], "a day"),
]


@pytest.fixture
def broker(serve: Serve) -> Iterator[ServedBroker]:
    """Serve a broker with budgets, whose approver is at the terminal."""
    broker = serve(operators=OPERATORS)
    before = broker.parts.documents.current.digest
    broker.written.put("budgets.yaml", BUDGETS)
    until(lambda: broker.parts.documents.current.digest != before)
    with connecting_as("bin"):
        yield broker


@pytest.fixture
def run(aam: Aam, broker: ServedBroker) -> Callable[..., Any]:
    """Run `aam …` for that broker."""
    return lambda *arguments: aam(*arguments, "--dir", broker.written.directory)


def call(broker: ServedBroker, model: str, tokens: int, *, settled: bool = True, cost: int | None = None) -> None:
    """Make a call of the analyst's, at a dollar for a thousand tokens, as the pipeline does."""

    async def make() -> None:
        snapshot = broker.parts.documents.current
        rates = rates_of("openai", model, NOON, {"input": 1_000, "output": 1_000})
        target = Target("reasoning-high", "openai", model)
        allowance = snapshot.allowance_of(ANALYST)
        agent = snapshot.registry.agents[ANALYST]
        hold = broker.parts.ledger.hold("a-call", 1, agent, allowance, target, Ask(tokens, 0), rates)
        commits = broker.parts.store.commits
        await commits.commit(hold.begin)
        if settled:
            hold.used(Usage(tokens // 2, 0)) if cost is None else hold.charged(cost)
            await commits.commit(hold.settle)

    asyncio.run_coroutine_threadsafe(make(), broker._loop).result(60)


def test_budgets_are_shown_with_what_is_spent_held_and_left(run: Callable[..., Any], broker: ServedBroker) -> None:
    """Issue 7: `aam budget` shows spent, held, left and the reset time, with a plot."""
    call(broker, "one", 30_000)
    call(broker, "one", 15_000, settled=False)

    listed, found = run("budget"), run("budget", "list", "--json").json
    shown = run("budget", "show", "analyst")

    mine, team = found
    assert (mine["name"], mine["limit_usd"], mine["spent_usd"]) == ("analyst", "75.00", "15.00")
    assert (mine["held_usd"], mine["left_usd"], mine["percent"]) == ("15.00", "45.00", [20, 20])
    assert (team["of"], team["on_insufficient"]) == ("team", "clamp")
    assert all(word in listed.out for word in ("analyst", "finance", "$75.00", "40 %", mine["resets_at"]))
    assert "█" * 4 + "▒" * 4 + "░" * 12 in listed.out
    assert "Europe/Berlin" in shown.out
    assert "$       15.00  " + "█" * 40 in shown.out


def test_an_approver_raises_a_budget_and_takes_it_back(run: Callable[..., Any], broker: ServedBroker) -> None:
    """Issue 7: a temporary raise is an approval on record."""
    done = run("budget", "raise", "analyst", "--by", "50", "--until", "8h", "--reason", "Month end")
    (one,) = run("budget", "raises", "--json").json
    limit = run("budget", "list", "--json").json[0]["limit_usd"]
    back = run("budget", "withdraw", one["id"], "--reason", "Enough")

    assert "raised: $50.00 more a day" in done.out
    assert (one["by"], one["reason"], limit) == ("bin", "Month end", "125.00")
    assert "withdrawn" in back.out
    assert run("budget", "raises").out == "No budget is raised.\n"
    assert [one["actor"]["user"] for one in broker.records(kind="budget_raised")] == ["bin"]


def test_an_auditor_raises_nothing(run: Callable[..., Any], broker: ServedBroker) -> None:
    """Issue 7: by a role that approves; reading is everybody's."""
    with connecting_as("daemon"):
        refused = run("budget", "raise", "analyst", "--by", "50", "--until", "8h", "--reason", "x")
        listed = run("budget", "--json")

    assert (refused.code, "operator_forbidden" in refused.err) == (1, True)
    assert listed.code == 0
    assert broker.records(kind="budget_raised") == []


def test_what_cannot_be_meant_is_misuse(run: Callable[..., Any]) -> None:
    """Bad input gets a clear error, and exit status 2."""
    for command, arguments, words in MISUSES:
        ran = run(command, *arguments)

        assert (ran.code, words in ran.err) == (2, True), (arguments, ran.err)


def test_overruns_are_listed_until_somebody_looks_at_them(run: Callable[..., Any], broker: ServedBroker) -> None:
    """Issue 7: exit status 1 while there is one: a script can watch for it."""
    before = run("budget", "overruns")
    call(broker, "one", 1_000, cost=3 * 10**9)
    (one,) = run("budget", "overruns", "--json").json
    listed = run("budget", "overruns")
    run("budget", "acknowledge", one["id"], "--reason", "Price corrected")

    assert (before.code, listed.code, run("budget", "overruns").code) == (0, 1, 0)
    assert (one["amount_usd"], one["cost_usd"]) == ("1.00", "3.00")


def test_spend_is_a_table_a_chart_and_csv(run: Callable[..., Any], broker: ServedBroker, tmp_path: Path) -> None:
    """Issue 7: by agent, team, model, provider, day as table, CSV and chart."""
    call(broker, "=one", 4_000)
    call(broker, "two", 2_000)

    table, chart = run("spend", "--by", "model"), run("spend", "--by", "model", "--chart")
    found = run("spend", "--by", "model", "--by", "day", "--json").json
    ran = run("spend", "--by", "model", "--csv", tmp_path / "spend.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "spend.csv").read_text())))

    assert table.out.index("=one") < table.out.index("two")
    assert "█" * 20 + "\n" in chart.out
    assert [(row["model"], row["cost_usd"]) for row in found["rows"]] == [("=one", "2.00"), ("two", "1.00")]
    assert (ran.code, [row["model"] for row in rows]) == (0, ["'=one", "two"])
    assert run("spend", "--model", "two", "--json").json["rows"][0]["cost_usd"] == "1.00"
    assert run("spend", "--since", "2000-01-01", "--until", "2000-01-31").out == "No model has cost anything.\n"
