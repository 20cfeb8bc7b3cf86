"""Which target answers: the next one where the first has not begun to, and none twice that is down."""

from typing import Any

import pytest

from broker.models import Health, Route, Target
from broker.models.document import ModelRouteDocument
from broker.pipeline.prices import Prices
from broker.testing.models import Behaviour
from connectors import models
from tests.support.models import Gateway, asked, events_of

WEIGHTS = {"a": 1, "b": 3}


@pytest.mark.parametrize("status", [401, 402, 429, 503, 529, 500])
def test_the_next_target_answers_where_the_first_could_not(gateway: Gateway, status: int) -> None:
    """Issue 7: each attempt is held and settled by itself; attempts and fallback reasons are in the trail."""
    gateway.behaves(Behaviour(status=status))

    answer = gateway.chat("twice")

    first, second = gateway.finished()["attempts"]
    assert answer.status_code == 200
    assert answer.json()["model"] == "llama"
    assert (first["target"], first["status"]) == ("openai/gpt-small", "failed")
    assert first["trouble"]
    assert (second["target"], second["region"], second["labels"]) == ("backup/llama", "eu", ["zdr"])
    assert first["hold"] != second["hold"]
    assert first["cost"] == (first["held"] if status >= 500 else 0)
    assert gateway.finished()["status"] == "released"


def test_a_request_that_is_wrong_is_not_tried_elsewhere(gateway: Gateway) -> None:
    """No other target would answer it differently."""
    gateway.behaves(Behaviour(status=400))

    assert gateway.chat("twice").status_code == 400
    assert len(gateway.finished()["attempts"]) == 1


def test_a_stream_falls_back_before_its_first_event_and_never_after(gateway: Gateway) -> None:
    """Issue 7: failover only before the first byte."""
    gateway.behaves(Behaviour(status=503))
    _, before = gateway.stream("/v1/chat/completions", asked("twice"))
    gateway.behaves(Behaviour(stops_after=1))
    _, after = gateway.stream("/v1/chat/completions", asked("twice"))

    assert events_of(before)[-1]["model"] == "llama"
    assert events_of(after)[-1]["error"]["code"] == "stream_truncated"
    assert len(gateway.finished()["attempts"]) == 1


def test_a_target_that_fails_again_and_again_is_left_alone(gateway: Gateway) -> None:
    """Cooldown: after two failures in a row, as the route says, the other is tried first."""
    gateway.behaves(Behaviour(status=503), Behaviour(), Behaviour(status=503), Behaviour())
    gateway.chat("twice")
    gateway.chat("twice")

    answer = gateway.chat("twice")

    assert answer.json()["model"] == "llama"
    assert len(gateway.finished()["attempts"]) == 1


def test_a_target_that_says_when_to_come_back_is_taken_at_its_word(gateway: Gateway) -> None:
    """`Retry-After` begins a rest by itself."""
    gateway.behaves(Behaviour(status=429, headers={"Retry-After": "30"}))
    gateway.chat("twice")

    gateway.chat("twice")

    assert [attempt["target"] for attempt in gateway.finished()["attempts"]] == ["backup/llama"]


def test_when_nobody_answers_the_last_reason_is_told(gateway: Gateway) -> None:
    """A provider's 429 is one to the agent as well: its client waits, and repeats."""
    gateway.behaves(Behaviour(status=503), Behaviour(status=429, headers={"Retry-After": "9"}))

    answer = gateway.chat("twice")

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "9")
    assert answer.headers["x-should-retry"] == "true"


def route(order: str, **prices: float) -> Route:
    """Return a route with two targets."""
    parts = [
        {"connector": "c", "model": name, "weight": WEIGHTS[name]}
        | ({"prices": {"input": prices[name], "output": 0}} if prices else {})
        for name in ("a", "b")
    ]
    document = ModelRouteDocument.model_validate({"targets": parts, "order": order})
    assert models.OPENAI.models is not None
    targets = tuple(
        Target(part, models.OPENAI.models, part.prices.input if part.prices else None) for part in document.targets
    )
    return Route("x", document, targets)


def names(found: Any) -> list[str]:
    """Return the models of targets."""
    return [target.model for target in found]


def test_the_cheapest_comes_first_where_the_route_says_so() -> None:
    """Issue 7: by price."""
    assert names(route("cheapest", a=3, b=2).ordered("chat", lambda _: False)) == ["b", "a"]


def test_weights_are_shares() -> None:
    """Issue 7: by weight: 1 to 3 is a quarter."""
    both = route("weighted")
    draws = [index / 97 for index in range(97)]
    pairs = iter([draw for one in draws for other in draws for draw in (one, other)])

    first = [names(both.ordered("chat", lambda _: False, lambda: next(pairs)))[0] for _ in range(97 * 97)]

    assert abs(first.count("a") / len(first) - 0.25) < 0.02


def test_who_rests_comes_last_and_is_tried_when_nobody_else_is_left() -> None:
    """A target is left alone only as long as another can answer."""
    both = route("listed")
    now = [0.0]
    health = Health(lambda: now[0])
    for _ in range(both.document.cooldown.failures):
        health.failed(both, both.targets[0], None)

    assert names(both.ordered("chat", health.rests)) == ["b", "a"]
    now[0] = both.document.cooldown.seconds
    assert names(both.ordered("chat", health.rests)) == ["a", "b"]


def test_the_price_list_is_read_before_a_call_needs_it_and_not_where_none_does() -> None:
    """Reading it takes half a second, in which no other call could go on."""
    bare = route("listed")

    reading = Prices.prepare([bare])
    assert reading is not None
    reading.join(60)
    assert Prices.prepare([route("listed", a=1, b=1)]) is None
    found = Prices().of(Target(bare.targets[0].part.model_copy(update={"model": "gpt-4o"}), bare.targets[0].provider))
    assert found is not None
    assert found.source == "genai-prices"
