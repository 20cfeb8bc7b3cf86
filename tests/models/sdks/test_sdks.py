"""OpenAI's and Anthropic's clients, and frameworks on them, run unchanged but for base URL, key and model."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import Gateway, models_policy

pytestmark = pytest.mark.slow

WORDS = "Revenue grew by 4%."
Run = Callable[[str, Gateway], Any]


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a scenario in the SDKs' own Python."""
    python = os.environ.get("AAM_MODEL_SDKS_PYTHON")
    if python is None:
        why = "AAM_MODEL_SDKS_PYTHON names no Python with openai, anthropic, openai-agents and langchain's clients"
        if os.environ.get("AAM_CI"):
            pytest.fail(why)
        pytest.skip(why)

    def run(scenario: str, gateway: Gateway) -> Any:
        program = Path(__file__).with_name("clients.py")
        ran = subprocess.run(
            [python, program, scenario, gateway.broker.url, gateway.broker.token()],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "OPENAI_AGENTS_DISABLE_TRACING": "1"},
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        return json.loads(ran.stdout)

    return run


def test_openais_client_runs_unchanged(run: Run, gateway: Gateway) -> None:
    """Issue 7: chat, streams, tools, structured outputs, responses, embeddings, models; and its own exceptions."""
    found = run("openai", gateway)

    assert [found[name] for name in ("whole", "structured", "stream", "response")] == [WORDS] * 4
    assert (found["tools"], found["usage"], found["events"], found["embedded"]) == ("stop", 16, "response.completed", 2)
    assert found["models"] == ["azure", "claude", "routed", "small", "twice", "unpriced"]
    assert found["one"] == "small"
    assert found["thought"] == WORDS
    assert [one.body["reasoning"] for one in gateway.service.seen if "reasoning" in one.body] == [{"effort": "high"}]
    assert found["looked_up"]["data"]["model"] == "small"
    assert (found["unknown"]["raises"], found["unknown"]["code"]) == ("NotFoundError", "unknown_model")
    assert (found["refused"]["raises"], found["refused"]["code"]) == ("BadRequestError", "model_field_refused")
    assert found["stranger"]["raises"] == "AuthenticationError"


def test_anthropics_client_runs_unchanged(run: Run, gateway: Gateway) -> None:
    """Issue 7: messages, whole and streamed; models; its own exceptions."""
    found = run("anthropic", gateway)

    assert [found[name] for name in ("whole", "stream")] == [WORDS] * 2
    assert (found["usage"], found["unknown"]) == (5, "NotFoundError")
    assert "claude" in found["models"]
    assert gateway.get(f"/v1/generation?id={found['request']}").json()["data"]["model"] == "claude"


def test_frameworks_run_unchanged(run: Run, gateway: Gateway) -> None:
    """Issue 7: openai-agents and langchain."""
    assert run("agents", gateway) == [WORDS] * 2
    found = run("langchain", gateway)
    assert [found[name] for name in ("openai", "stream", "anthropic")] == [WORDS] * 3
    assert found["embedded"] == 2


def test_a_stream_that_is_not_whole_raises_in_every_client(run: Run, gateway: Gateway) -> None:
    """Reference §5.6: by itself, no client raises anything at a truncation."""
    gateway.behaves(stops_after=2)

    openai = run("openai_broken", gateway)

    assert openai["chat"]["raises"] == "APIError"
    assert openai["chat"]["body"]["metadata"]["error_type"] == "stream_truncated"
    assert openai["responses"]["raises"] == "APIError"
    assert run("anthropic_broken", gateway) in {"APIStatusError", "APIError", "InternalServerError"}


def test_an_exhausted_budget_is_tried_once(run: Run, own_gateway: Gateway) -> None:
    """Issue 7: 402, so that SDKs do not retry what cannot succeed."""
    own_gateway.put("models-policy.yaml", models_policy(budget="{daily_usd: 0.0001}"))
    before = len(own_gateway.broker.records(kind="requested"))

    openai = run("openai_poor", own_gateway)
    anthropic = run("anthropic_poor", own_gateway)

    assert (openai["raises"], openai["code"]) == ("APIStatusError", "budget_exhausted")
    assert anthropic == "PaymentRequiredError"
    assert len(own_gateway.broker.records(kind="requested")) == before + 2
