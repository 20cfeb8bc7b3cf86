"""How much a model is to think: said in either spelling, told to each target in its own, and never beyond the cap."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.trail.story import Told, lines_of
from broker.connector import Api, Connector
from broker.errors import ReasoningContradictory, ReasoningUnavailable, Refusal
from broker.models import ModelRouteDocument, Route, Target, Wanted, body_of, model_of, read, written_for
from broker.models.thinking import SHARES, budget_of, effort_of
from connectors import models
from tests.support.documents import HEAD
from tests.support.models import PRICES, Gateway, models_policy

CAP = 10_000
CHAT: dict[str, Connector] = {
    "openai": models.OPENAI,
    "azure": models.AZURE_OPENAI,
    "compatible": models.OPENAI_COMPATIBLE,
    "openrouter": models.OPENROUTER,
}
HIGH = {"reasoning_effort": "high"}
ROUTED = {"reasoning": {"effort": "high"}}


def route_of(connector: Connector, target: dict[str, Any] | None = None, **spec: Any) -> Route:
    """Return a route with one target."""
    part = {"connector": "service", "model": "a-model", **(target or {})}
    document = ModelRouteDocument.model_validate({"max_output_tokens": CAP, "targets": [part], **spec})
    assert connector.models is not None
    return Route("it", document, (Target(document.targets[0], connector.models),))


def wanted_of(api: Api, route: Route, **members: Any) -> Wanted:
    """Read a request."""
    body = json.dumps({"model": "it", **members}).encode()
    alias, fields = model_of(body)
    return read(api, fields, alias, route, len(body))


def sent(api: Api, connector: Connector, target: dict[str, Any] | None = None, /, **members: Any) -> dict[str, Any]:
    """Return what of a request to a target speaks of reasoning; `spec` are members of the route's document."""
    route = route_of(connector, target, **members.pop("spec", {}))
    wanted = wanted_of(api, route, **members)
    (one,) = route.targets
    cap = route.cap(one, wanted.cap)
    body = json.loads(body_of(wanted, one, cap, "who", None, written_for(wanted, route, one, cap).members))
    names = {"reasoning", "reasoning_effort", "include_reasoning", "thinking", "output_config"}
    return {name: body[name] for name in names & body.keys()}


@pytest.mark.parametrize(
    "spelling", [HIGH, ROUTED, {**HIGH, **ROUTED}, {"reasoning": {"effort": "high", "enabled": True}}]
)
@pytest.mark.parametrize("name", CHAT)
def test_either_spelling_reaches_every_target_in_its_own(name: str, spelling: dict[str, Any]) -> None:
    """Reference, row 32: the same request works on each target that can take it."""
    assert sent("chat", CHAT[name], **spelling) == (ROUTED if name == "openrouter" else HIGH)


@pytest.mark.parametrize(
    ("asked_for", "effort", "routed"),
    [
        ({"max_tokens": 8_000}, "high", {"max_tokens": 8_000}),
        ({"max_tokens": 7_999}, "medium", {"max_tokens": 7_999}),
        ({"max_tokens": 1}, "minimal", {"max_tokens": 1}),
        ({"enabled": True}, "medium", {"enabled": True}),
        ({"enabled": False}, "none", {"effort": "none"}),
        ({"effort": "none"}, "none", {"effort": "none"}),
        ({"effort": "max"}, "max", {"effort": "max"}),
    ],
    ids=json.dumps,
)
def test_what_a_target_has_no_word_for_is_said_in_its_words(
    asked_for: dict[str, Any], effort: str, routed: dict[str, Any]
) -> None:
    """OpenRouter's shares: a budget is the effort whose share of the cap it covers."""
    assert sent("chat", models.OPENAI, reasoning=asked_for) == {"reasoning_effort": effort}
    assert sent("chat", models.OPENROUTER, reasoning=asked_for) == {"reasoning": routed}
    assert sent("responses", models.OPENAI, reasoning=asked_for, input="x") == {"reasoning": {"effort": effort}}
    assert sent("responses", models.OPENROUTER, reasoning=asked_for, input="x") == {"reasoning": routed}


@pytest.mark.parametrize("spelling", [{"include_reasoning": False}, {"reasoning": {"exclude": True}}])
def test_thoughts_are_left_out_of_answers_that_would_hold_them(spelling: dict[str, Any]) -> None:
    """OpenRouter's `exclude` is vLLM's `include_reasoning`; OpenAI's chat completions show no thoughts."""
    assert sent("chat", models.OPENAI, **spelling) == {}
    assert sent("chat", models.OPENAI_COMPATIBLE, **spelling) == {"include_reasoning": False}
    assert sent("chat", models.OPENROUTER, **spelling) == {"reasoning": {"exclude": True}}


def test_what_no_target_has_a_word_for_is_refused() -> None:
    """Fail closed: a thought that was not to be shown would be."""
    with pytest.raises(ReasoningUnavailable):
        sent("responses", models.OPENROUTER, input="x", reasoning={"exclude": True})

    assert sent("responses", models.OPENAI, input="x", reasoning={"exclude": True}) == {}


@pytest.mark.parametrize(
    "spellings",
    [
        {"reasoning_effort": "low", "reasoning": {"effort": "high"}},
        {"reasoning_effort": "low", "reasoning": {"max_tokens": 2_000}},
        {"reasoning": {"effort": "low", "max_tokens": 2_000}},
        {"reasoning": {"enabled": True, "effort": "none"}},
        {"reasoning": {"enabled": False, "effort": "low"}},
        {"reasoning": {"enabled": False, "max_tokens": 2_000}},
        {"reasoning_effort": "low", "reasoning": {"enabled": False}},
        {"include_reasoning": True, "reasoning": {"exclude": True}},
        {"reasoning": {"exclude": True, "summary": "auto"}},
    ],
    ids=json.dumps,
)
def test_what_says_two_things_is_refused(spellings: dict[str, Any]) -> None:
    """Nobody knows which of them is meant, and they cost differently."""
    with pytest.raises(ReasoningContradictory):
        sent("chat", models.OPENROUTER, **spellings)


@pytest.mark.parametrize(
    "members",
    [
        {"reasoning_effort": "enormous"},
        {"reasoning_effort": ["high"]},
        {"reasoning": "high"},
        {"reasoning": {"effort": 1}},
        {"reasoning": {"enabled": "yes"}},
        {"include_reasoning": 1},
        {"reasoning": {"summary": "x" * 41}},
        {"reasoning": {"max_tokens": True}},
        {"reasoning": {"max_tokens": 0}},
        {"reasoning": {"max_tokens": CAP}},
        {"max_tokens": 2_000, "reasoning": {"max_tokens": 2_000}},
        {"reasoning": {"preset": "mine"}},
    ],
    ids=json.dumps,
)
def test_what_is_none_of_the_apis_words_is_refused(members: dict[str, Any]) -> None:
    """What is not named reaches no provider; a budget is below the cap."""
    with pytest.raises(Refusal) as refused:
        sent("chat", models.OPENROUTER, **members)

    assert refused.value.code in {"model_request_invalid", "model_field_refused"}


ENABLED = {"type": "enabled", "budget_tokens": 5_000}
ADAPTIVE = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("members", "as_effort", "as_budget"),
    [
        ({"thinking": ENABLED}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}, None),
        ({"thinking": ADAPTIVE}, None, {"thinking": {**ENABLED, "budget_tokens": 8_000, "display": "summarized"}}),
        (
            {"thinking": ADAPTIVE, "output_config": {"effort": "low", "format": {"type": "json_schema"}}},
            None,
            {
                "thinking": {**ENABLED, "budget_tokens": 2_000, "display": "summarized"},
                "output_config": {"format": {"type": "json_schema"}},
            },
        ),
        ({"output_config": {"effort": "max"}}, None, {"thinking": {**ENABLED, "budget_tokens": 9_500}}),
        ({"thinking": {"type": "disabled"}}, None, None),
        ({"output_config": {"format": {"type": "json_schema"}}}, None, None),
        ({}, None, None),
    ],
    ids=lambda one: json.dumps(one)[:40],
)
@pytest.mark.parametrize("connector", [models.ANTHROPIC, models.OPENROUTER], ids=["anthropic", "openrouter"])
def test_messages_say_it_as_the_model_takes_it(
    connector: Connector, members: dict[str, Any], as_effort: dict[str, Any] | None, as_budget: dict[str, Any] | None
) -> None:
    """Newer models take an effort and older ones a budget: a target says which of them its model takes."""
    assert sent("messages", connector, max_tokens=CAP, **members) == members
    assert sent("messages", connector, {"reasoning_as": "effort"}, max_tokens=CAP, **members) == (as_effort or members)
    assert sent("messages", connector, {"reasoning_as": "budget"}, max_tokens=CAP, **members) == (as_budget or members)


@pytest.mark.parametrize(
    "members",
    [
        {"thinking": {"type": "adaptive", "budget_tokens": 2_000}},
        {"thinking": {"type": "disabled", "budget_tokens": 2_000}},
        {"thinking": {"type": "enabled"}},
        {"thinking": {"type": "pro"}},
        {"thinking": {"budget_tokens": 2_000}},
        {"thinking": {"type": "enabled", "budget_tokens": CAP}},
        {"thinking": {"type": "enabled", "budget_tokens": 1_000}},
        {"thinking": {"type": "adaptive", "preset": "mine"}},
        {"output_config": {"effort": "none"}},
        {"output_config": []},
    ],
    ids=json.dumps,
)
def test_what_a_message_cannot_say_is_refused(members: dict[str, Any]) -> None:
    """One value is read of it, or none."""
    with pytest.raises(Refusal):
        sent("messages", models.ANTHROPIC, max_tokens=CAP, **members)


def test_a_route_says_how_much_where_its_caller_does_not() -> None:
    """Issue 7: `reasoning-high` means that; a target's own stands before it, and the caller's before both."""
    high: dict[str, Any] = {"spec": {"reasoning": {"effort": "high"}}}

    assert sent("chat", models.OPENAI, **high) == HIGH
    assert sent("chat", models.OPENAI, {"reasoning": {"effort": "low"}}, **high) == {"reasoning_effort": "low"}
    assert sent("chat", models.OPENAI, **high, reasoning_effort="none") == {"reasoning_effort": "none"}
    assert sent("chat", models.OPENROUTER, **high, include_reasoning=False) == {
        "reasoning": {"effort": "high", "exclude": True}
    }
    assert sent("messages", models.ANTHROPIC, **high, max_tokens=CAP) == {
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}
    }  # fmt: skip
    assert sent("messages", models.ANTHROPIC, {"reasoning_as": "budget"}, **high, max_tokens=CAP) == {
        "thinking": {"type": "enabled", "budget_tokens": 8_000}
    }
    assert sent("embeddings", models.OPENAI, **high, input="x") == {}


def test_a_model_that_does_not_think_is_asked_for_no_thoughts() -> None:
    """What it cannot do is not dropped without a word."""
    none = {"reasoning_as": "none"}

    with pytest.raises(ReasoningUnavailable):
        sent("chat", models.OPENAI_COMPATIBLE, none, reasoning_effort="low")

    assert sent("chat", models.OPENAI_COMPATIBLE, none, reasoning_effort="none") == {}
    assert sent("messages", models.ANTHROPIC, none, max_tokens=9, thinking={"type": "disabled"}) == {}


@given(st.sampled_from(sorted(SHARES)), st.integers(1, 1_000_000), st.integers(1, 1_000_000))
def test_a_budget_leaves_room_for_an_answer_or_there_is_none(effort: Any, cap: int, budget: int) -> None:
    """Reference §5.3: the cap bounds thinking and answer together, so that what is held bounds what is billed."""
    if cap <= 1024:
        with pytest.raises(ReasoningUnavailable):
            budget_of(effort, cap)
    else:
        assert 1024 <= budget_of(effort, cap) < cap
    assert effort_of(budget, cap) == "minimal" or SHARES[effort_of(budget, cap)] * cap <= budget


@given(budget=st.integers(1024, 100_000), cap=st.integers(1025, 100_000), clamped=st.integers(1, 100_000))
def test_a_budget_stays_below_a_cap_that_was_lowered(budget: int, cap: int, clamped: int) -> None:
    """A route's default, or a budget that is clamped to what is left, is lowered with the cap, or refused."""
    route = route_of(models.OPENROUTER, None, reasoning={"max_tokens": budget}, max_output_tokens=cap)
    wanted = wanted_of("chat", route, messages=[])

    try:
        written = written_for(wanted, route, route.targets[0], min(cap, clamped))
    except ReasoningUnavailable:
        assert min(cap, clamped) <= 1024
    else:
        assert written.members["reasoning"]["max_tokens"] < min(cap, clamped)


THINKING = f"""{HEAD}
kind: ModelRoute
metadata: {{name: thinking}}
spec:
  max_output_tokens: 4000
  reasoning: {{effort: high}}
  targets:
    - {{connector: openai, model: plain, reasoning_as: none, prices: {PRICES}}}
    - {{connector: backup, model: other, prices: {PRICES}}}
"""


def test_a_target_that_cannot_think_is_passed_over(own_gateway: Gateway) -> None:
    """The same request works on each target that can take it; the trail says what its target was told."""
    own_gateway.put("thinking.yaml", THINKING)
    own_gateway.put("models-policy.yaml", models_policy("[thinking]"))

    thought, plain = own_gateway.chat("thinking"), own_gateway.chat("thinking", reasoning_effort="none")

    first, second = [end["outcome"]["attempts"] for end in own_gateway.broker.records(kind="finished")[-2:]]
    assert (thought.json()["model"], plain.json()["model"]) == ("other", "plain")
    assert [one["reasoning"] for one in first] == [{"effort": "high"}]
    assert [one["reasoning"] for one in second] == [{"off": True}]
    call_id = thought.headers["x-request-id"]
    told = Told(own_gateway.broker.records(call_id=call_id), [], [], "")
    assert "told to think: effort high" in [text for _, text in lines_of(told)]
    listed = own_gateway.get("/v1/models/thinking").json()
    assert listed["reasoning"] == {"effort": "high", "exclude": False}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"reasoning_effort": "low", "reasoning": {"effort": "high"}}, "reasoning_contradictory"),
        ({"reasoning": {"max_tokens": 100}}, "model_field_refused"),
    ],
)
def test_a_refusal_has_a_code_and_nothing_is_sent(gateway: Gateway, members: dict[str, Any], code: str) -> None:
    """CONTRIBUTING: every refusal has a stable code."""
    before = len(gateway.service.seen)

    answer = gateway.chat("small", **members)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert len(gateway.service.seen) == before


def test_no_target_that_can_is_a_refusal_that_costs_nothing(gateway: Gateway) -> None:
    """Fail closed: the agent is told, nothing is sent, nothing is held."""
    before = len(gateway.service.seen)

    answer = gateway.post("/v1/responses", {"model": "routed", "input": "x", "reasoning": {"exclude": True}})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "reasoning_unavailable")
    assert len(gateway.service.seen) == before
