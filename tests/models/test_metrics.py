"""What metrics say of models: attempts, tokens, cost, budgets and overruns; the same as the trail and `aam spend`."""

import pytest

from broker.testing.models import Behaviour
from tests.models.test_law import BEYOND
from tests.support.metrics import OPENMETRICS, Scraped, scraped
from tests.support.models import Gateway, asked, models_policy

SMALL = {"route": "small", "provider": "openai", "model": "gpt-small"}


def test_tokens_and_cost_are_those_of_the_trail(own_gateway: Gateway) -> None:
    """Issue 7, metrics: model tokens in and out and cost in USD by route, target and the agent's team."""
    usage = {"input": 11, "output": 5, "cached": 0}
    own_gateway.behaves(usage=usage)
    own_gateway.chat("small", max_tokens=50)
    own_gateway.stream("/v1/chat/completions", asked("small"))

    found = scraped(own_gateway.broker)

    spent = own_gateway.broker.operators.get("/v1/spend", by="model")["rows"]
    attempts = [one["outcome"]["attempts"][0] for one in own_gateway.broker.records(kind="finished")]
    cost = sum(one["cost"] for one in attempts) * 1e-9
    assert found.value("aam_model_cost_usd_total", **SMALL, team="finance", source="usage") == pytest.approx(cost)
    assert pytest.approx(cost) == sum(float(row["cost_usd"]) for row in spent)
    assert cost > 0
    assert found.value("aam_model_tokens_total", **SMALL, team="finance", type="input") == 22
    assert found.value("aam_model_tokens_total", **SMALL, team="finance", type="output") == 10
    assert found.value("aam_model_attempts_total", **SMALL, status="answered", reason="") == 2
    assert found.value("aam_model_attempt_duration_seconds_count", **SMALL) == 2
    assert found.value("aam_model_first_event_seconds_count", **SMALL) == 1
    assert (
        found.value("aam_calls_total", kind="model", resource="models.small", action="invoke", status="released") == 2
    )
    text, _ = own_gateway.broker.await_(own_gateway.broker.parts.metrics.text, OPENMETRICS)
    assert Scraped.read(text.decode(), openmetrics=True).value("aam_model_attempt_duration_seconds_count", **SMALL) == 2


def test_a_fallback_says_why_the_target_before_it_did_not_answer(own_gateway: Gateway) -> None:
    """Issue 7, metrics: attempts and fallbacks by reason, and which target rests."""
    own_gateway.behaves(Behaviour(status=503), Behaviour(), Behaviour(status=429, headers={"retry-after": "60"}))

    own_gateway.chat("twice")
    own_gateway.chat("twice")

    found = scraped(own_gateway.broker)
    assert found.value("aam_model_attempts_total", route="twice", provider="openai", status="failed") == 2
    assert found.value("aam_model_attempts_total", route="twice", provider="openai", reason="overloaded") == 1
    assert found.value("aam_model_attempts_total", route="twice", provider="backup", status="answered") == 2
    assert found.value("aam_model_fallbacks_total", route="twice", reason="overloaded") == 1
    assert found.value("aam_model_fallbacks_total", route="twice", reason="rate_limited") == 1
    assert found.value("aam_model_target_rests_seconds", provider="openai", model="gpt-small") > 0
    assert found.value("aam_model_target_rests_seconds", provider="backup", model="llama") == 0


def test_a_budget_shows_its_limit_what_is_spent_and_what_is_held(poor: Gateway) -> None:
    """Issue 7, metrics: budgets per scope and window, and holds."""
    poor.chat("small", max_tokens=50)
    poor.chat("no-such-model")

    found = scraped(poor.broker)

    (standing,) = poor.broker.operators.get("/v1/budgets")
    which = {"budget": "analyst-models", "of": "agent", "name": "analyst", "period": "day"}
    assert found.value("aam_budget_limit_usd", **which) == pytest.approx(0.002)
    assert found.value("aam_budget_spent_usd", **which) == pytest.approx(float(standing["spent_usd"]))
    assert found.value("aam_budget_spent_usd", **which) > 0
    assert found.value("aam_budget_held_usd", **which) == 0
    assert found.value("aam_budget_resets_timestamp_seconds", **which) > 0
    assert (found.value("aam_budgets"), found.value("aam_budget_holds")) == (1, 0)
    assert found.labels("aam_calls_total", "resource") == {"models.small", ""}


def test_an_owner_is_told_by_the_document_and_not_by_name(own_gateway: Gateway) -> None:
    """0110: an owner is a person, and a monitoring system keeps for long what it is told."""
    head = "apiVersion: access.envisionai.dev/v1\nkind: Budget\n"
    own_gateway.put("budget.yaml", f"{head}metadata: {{name: jane}}\nspec: {{owner: jane@example.com, daily_usd: 5}}\n")

    found = scraped(own_gateway.broker)

    assert found.value("aam_budget_limit_usd", budget="jane", of="owner", name="", period="day") == 5
    assert "jane@example.com" not in found.text


def test_an_overrun_shows_until_somebody_has_acknowledged_it(poor: Gateway) -> None:
    """Issue 7: a recorded, alarmed overrun; `aam status` says so, too."""
    poor.put("models-policy.yaml", models_policy(budget="{daily_usd: 1}"))
    target = {"provider": "openai", "model": "gpt-small"}
    assert "aam_budget_overruns{" in scraped(poor.broker).text  # 0 is told, too: nothing would be no answer

    poor.behaves(words=tuple(f" word{number}" for number in range(600)), ignores_cap=True, usage=BEYOND)
    poor.chat("small", max_tokens=20)
    found = _fresh(poor)
    assert found.value("aam_budget_overruns", **target) == found.value("aam_budget_overruns") == 1
    assert poor.broker.operators.get("/v1/status")["overruns"] == 1

    (record,) = poor.broker.records(kind="budget_overrun")
    poor.broker.operators.post(f"/v1/budgets/overruns/{record['hold']}/acknowledge", {"reason": "Told them"})
    assert _fresh(poor).value("aam_budget_overruns") == 0


def _fresh(gateway: Gateway) -> Scraped:
    """Scrape without waiting for the second in which nobody reads the store again."""
    gateway.broker.parts.metrics._stored._fresh = 0
    return scraped(gateway.broker)
