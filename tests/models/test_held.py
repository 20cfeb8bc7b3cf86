"""What is held and what is given back: every price, every tool and every failure, where it may have been billed."""

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from broker.doors.models.shapes import headers_of
from broker.errors import LimitReached
from broker.models.document import PricesPart
from broker.models.troubles import failure_of
from tests.support.documents import HEAD
from tests.support.models import Gateway, asked, models_policy


def test_prices_without_output_are_for_embeddings_alone(poor: Gateway) -> None:
    """A price that is not stated is not known; it is never nothing."""
    spec = "{targets: [{connector: openai, model: mine, prices: {input: 1.25}}]}"
    poor.put("half.yaml", f"{HEAD}kind: ModelRoute\nmetadata: {{name: half}}\nspec: {spec}\n")
    poor.put("models-policy.yaml", models_policy(allow="[half]", budget="{daily_usd: 1}"))

    chat = poor.chat("half")
    embeddings = poor.post("/v1/embeddings", {"model": "half", "input": "x"})

    assert (chat.status_code, chat.json()["error"]["code"]) == (402, "price_unknown")
    assert embeddings.status_code == 200
    assert len(poor.service.seen) == 1


@pytest.mark.parametrize(
    "more", [{"tiers": [{"above_input_tokens": 1000, "output": 10}]}, {"reasoning": 10}], ids=["a tier", "reasoning"]
)
def test_a_price_of_some_output_is_none_of_all_of_it(more: dict[str, Any]) -> None:
    """Below the tier, output would cost nothing."""
    with pytest.raises(ValidationError, match="'output' itself has none"):
        PricesPart.model_validate({"input": 1, **more})


@pytest.mark.parametrize(
    ("status", "error", "free"),
    [
        *((status, {}, True) for status in (400, 401, 402, 403, 404, 409, 413, 422, 429)),
        *((status, {}, False) for status in (408, 499, 500, 502, 503, 504, 524, 529)),
        (503, {"code": "server_is_overloaded"}, True),
        (529, {"type": "overloaded_error"}, True),
        (500, {"type": "overloaded_error"}, False),
        (503, {"message": "overloaded_error"}, False),
        (502, {"code": "rate_limit_exceeded"}, False),
    ],
)
def test_only_what_a_provider_did_not_take_up_is_free(status: int, error: dict[str, str], free: bool) -> None:  # noqa: FBT001
    """decisions/0108: a status that a proxy may have made says nothing of what is billed behind it."""
    assert failure_of(status, {}, msgspec.json.encode({"error": error})).free is free
    assert not failure_of(503, {}, b"<html>overloaded_error</html>").free


@pytest.mark.parametrize(("status", "free"), [(404, True), (429, True), (408, False), (503, False)])
def test_what_was_not_taken_up_is_given_back(poor: Gateway, status: int, free: bool) -> None:  # noqa: FBT001
    """decisions/0108: 404 is no work; what may have been billed costs all that was held."""
    poor.behaves(status=status)

    poor.chat("small", max_tokens=50)

    (attempt,) = poor.finished()["attempts"]
    assert attempt["held"] > 0
    assert attempt["cost"] == (0 if free else attempt["held"])


def test_a_deployment_of_azure_is_priced_by_its_route_alone(poor: Gateway) -> None:
    """A deployment called gpt-5-nano-prod may be of any model: its name is no price."""
    spec = "{targets: [{connector: azure, model: gpt-5-nano-prod}]}"
    poor.put("azure.yaml", f"{HEAD}kind: ModelRoute\nmetadata: {{name: named}}\nspec: {spec}\n")
    poor.put("models-policy.yaml", models_policy(allow="[named]", budget="{daily_usd: 1}"))

    assert poor.chat("named").json()["error"]["code"] == "price_unknown"
    assert not poor.service.seen


def test_tools_that_a_provider_describes_itself_are_held_for(poor: Gateway) -> None:
    """Anthropic writes their descriptions into the prompt, and bills them: a line of JSON is hundreds of tokens."""
    poor.put("models-policy.yaml", models_policy(budget="{daily_usd: 1}"))
    held = []
    own = [{"type": f"{name}_20250124", "name": name} for name in ("bash", "computer")]
    for tools in ([], [{"name": "mine", "input_schema": {}}], own):
        body = {**asked("claude"), "max_tokens": 50, "tools": tools}
        assert poor.post("/v1/messages", body).status_code == 200
        held.append(poor.finished()["attempts"][0]["held"])

    assert held[1] - held[0] < 1_200 * 1_000
    assert held[2] - held[1] > 2 * 1_024 * 1_000


@pytest.mark.parametrize(
    ("wait", "repeat"), [(1, "true"), (60, "true"), (61, "false"), (7200, "false"), (None, "false")]
)
def test_what_is_far_off_is_not_to_be_repeated(wait: int | None, repeat: str) -> None:
    """A limit of a day: SDKs wait for a minute at most, and repeat at once where they are told to wait longer."""
    assert headers_of(LimitReached("a day", retry_after=wait))["x-should-retry"] == repeat
