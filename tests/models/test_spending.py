"""Budgets at the models door: 402 for what cannot succeed, 429 for what can later, each in the API's own shape."""

import threading
from concurrent.futures import ThreadPoolExecutor

from broker.cli.trail.story import Told, lines_of
from broker.testing.models import Behaviour
from tests.support.models import Gateway, asked, models_policy

OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def test_an_exhausted_budget_is_a_402_that_says_when_and_what_would_fit(poor: Gateway) -> None:
    """Issue 7: exhausted is 402, so that SDKs do not retry what cannot succeed."""
    poor.put("models-policy.yaml", models_policy(budget="{daily_usd: 0.0005}"))

    openai = poor.chat("small", max_tokens=100)
    anthropic = poor.post("/v1/messages", {**asked("claude"), "max_tokens": 4000})

    error = openai.json()["error"]
    assert (openai.status_code, error["code"], error["type"]) == (402, "budget_exhausted", "insufficient_quota")
    assert error["metadata"]["affordable_output_tokens"] > 0
    assert openai.headers["x-should-retry"] == "false"
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (402, "billing_error")
    assert not poor.service.seen


def test_what_running_calls_hold_is_a_429_with_retry_after(poor: Gateway) -> None:
    """Issue 7: held by others is 429 with `Retry-After`."""
    poor.behaves(holds_after=0)
    running = threading.Thread(target=poor.chat, args=("small",), kwargs={"max_tokens": 90})
    running.start()
    poor.service.arrived.get(timeout=60)
    held = poor.chat("small", max_tokens=100)
    poor.service.free.set()
    running.join(60)

    assert (held.status_code, held.json()["error"]["code"]) == (429, "budget_held")
    assert int(held.headers["retry-after"]) > 0
    assert held.headers["x-should-retry"] == "true"


def test_a_model_without_a_price_is_refused_where_a_budget_applies(poor: Gateway) -> None:
    """Issue 7: unpriced models are refused when a budget applies."""
    assert poor.chat("unpriced").json()["error"]["code"] == "price_unknown"
    assert not poor.service.seen


def test_a_clamped_call_asks_its_provider_for_less(poor: Gateway) -> None:
    """Issue 7: optional clamping; the cap that is held is the cap that is sent."""
    budget = "{daily_usd: 0.0009, on_insufficient: clamp, min_output_tokens: 5}"
    poor.put("models-policy.yaml", models_policy(budget=budget))

    assert poor.chat("small", max_tokens=100).status_code == 200
    assert 5 <= poor.sent.body["max_completion_tokens"] < 100


def test_a_calls_story_says_what_each_attempt_cost(poor: Gateway) -> None:
    """Issue 7: attempts and fallback reasons are in the trail, and `aam trail show` says them."""
    poor.behaves(Behaviour(status=529, error=OVERLOADED), Behaviour(usage={"input": 11, "output": 5}))
    call_id = poor.chat("twice", max_tokens=50).headers["x-aam-call-id"]
    told = Told(poor.broker.records(call_id=call_id), [], [], "")

    lines = [text for _, text in lines_of(told)]

    assert any("openai/gpt-small failed (overloaded)" in line and "$0.00 of $0.0" in line for line in lines), lines
    assert any("backup/llama (eu, zdr) answered" in line and "$0.000061 of" in line for line in lines), lines
    assert "11 tokens in, 0 of them cached, 5 out, 0 of them reasoning" in lines


def test_what_was_not_used_is_given_back(poor: Gateway) -> None:
    """A call is settled by what it used: many small ones fit where one bound would not fit twice."""
    statuses = [poor.chat("small", max_tokens=80).status_code for _ in range(12)]

    assert statuses == [200] * 12


def test_an_agent_sees_what_is_left_of_its_own_budgets(poor: Gateway) -> None:
    """Reference, row 61: self-inspection, in the words of OpenRouter's `GET /key`, and exactly in ours."""
    poor.put("models-policy.yaml", models_policy(budget="{daily_usd: 0.002}", limits="{requests_per_day: 9}"))
    poor.behaves(usage={"input": 11, "output": 5})
    poor.chat("small", max_tokens=50)

    answer = poor.get("/v1/key")
    data = answer.json()["data"]
    (money,), (requests_,) = (
        [cap for cap in data["caps"] if ("counts" in cap) == counted] for counted in (False, True)
    )

    assert (data["label"], data["limit"], data["limit_reset"]) == ("analyst", 0.002, "daily")
    assert (data["limit_remaining"], data["usage_daily"]) == (0.001939, 0.000061)
    assert (money["left_usd"], money["held_usd"], requests_["left"]) == ("0.001939", "0.00", 8)
    assert poor.get("/v1/key", Authorization="Bearer nonsense").status_code == 401


def test_limits_of_calls_are_429(poor: Gateway) -> None:
    """`limits` in requests a minute."""
    poor.put("models-policy.yaml", models_policy(limits="{requests_per_day: 1}"))
    poor.chat("small")

    refused = poor.chat("small")

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "limit_reached")


def test_many_callers_at_once_never_overspend_and_some_succeed(poor: Gateway) -> None:
    """Reference §6: many requests at once on a budget that fits a few of their holds: the sum stays within it."""
    limit = 0.004
    poor.put("models-policy.yaml", models_policy(budget=f"{{daily_usd: {limit}}}"))
    poor.behaves(usage=None)  # so each call costs all that was held

    with ThreadPoolExecutor(24) as pool:
        statuses = list(pool.map(lambda _: poor.chat("small", max_tokens=90).status_code, range(48)))

    ends = [record["outcome"] for record in poor.broker.records(kind="finished")]
    spent = sum(attempt["cost"] for end in ends for attempt in end.get("attempts", ()))
    assert set(statuses) == {200, 402} or set(statuses) == {200, 402, 429}
    assert 0 < spent <= limit * 10**9
