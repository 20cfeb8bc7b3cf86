"""OpenRouter as a route: it is told how to choose, and nobody else tells it anything."""

import pytest

from broker.testing.models import Behaviour
from tests.support.documents import ANALYST
from tests.support.models import Gateway, asked

RUN = "0af7651916cd43dd8448eb211c80319c"


def test_the_provider_object_is_the_routes(gateway: Gateway) -> None:
    """Reference §7.1: data collection denied, parameters required, prices capped at what the call was held at."""
    gateway.behaves(openrouter=True)

    gateway.chat("routed")

    assert gateway.sent.body["provider"] == {
        "only": ["vendor"],
        "zdr": True,
        "require_parameters": True,
        "data_collection": "deny",
        "allow_fallbacks": True,
        "max_price": {"prompt": 1.0, "completion": 10.0, "request": 0.0},
    }


def test_no_prompt_loses_its_middle(gateway: Gateway) -> None:
    """Reference §7.2: context compression is on by default for small endpoints."""
    gateway.chat("routed")

    assert gateway.sent.body["plugins"] == [{"id": "context-compression", "enabled": False}]


def test_openrouter_learns_of_runs_and_of_nobodys_name(gateway: Gateway) -> None:
    """Reference §7.3: `user` is a keyed hash of the agent, `session_id` our run."""
    gateway.chat("routed", headers={"traceparent": f"00-{RUN}-b7ad6b7169203331-01"}, user="jane")

    sent = gateway.sent
    assert sent.body["session_id"] == RUN
    assert len(sent.body["user"]) == 32
    assert ANALYST not in sent.text.decode()
    assert "jane" not in sent.text.decode()
    assert sent.headers["x-openrouter-metadata"] == "enabled"


def test_its_own_cost_is_what_counts_and_its_generation_is_on_record(gateway: Gateway) -> None:
    """Reference §7.4: settle from `usage.cost`."""
    gateway.behaves(openrouter=True, cost=0.000625)

    answer = gateway.chat("routed")

    (attempt,) = gateway.finished()["attempts"]
    assert answer.headers["x-aam-cost-usd"] == "0.000625000"
    assert (attempt["cost"], attempt["cost_source"]) == (625_000, "provider")
    assert (attempt["generation"], attempt["provider_says"]) == ("gen-1234", "Somewhere")


@pytest.mark.parametrize("status", [402, 403])
def test_its_empty_account_is_our_trouble_and_not_the_agents_budget(gateway: Gateway, status: int) -> None:
    """Reference §7.6: 402 upstream is our route unhealthy: never passed on."""
    gateway.behaves(Behaviour(status=status))

    answer = gateway.chat("routed")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
    assert gateway.finished()["attempts"][0]["trouble"] == "credential"


def test_it_serves_every_api(gateway: Gateway) -> None:
    """OpenRouter speaks Anthropic's messages too."""
    answer = gateway.post("/v1/messages", {**asked("routed"), "max_tokens": 20})

    assert answer.json()["type"] == "message"
    assert gateway.sent.path == "/openrouter/messages"
    assert gateway.sent.headers["authorization"].startswith("Bearer ")
