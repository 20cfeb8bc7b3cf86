"""`aam models`: which models there are, what they cost, and whether what answers for them does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from broker.testing.models import SECRET_WORDS, Behaviour
from tests.support.models import Gateway

AAM = Path(sys.executable).with_name("aam")


def aam(gateway: Gateway, *words: str) -> tuple[int, Any]:
    """Run a command with --json, and return its status and what it printed."""
    command = [str(AAM), *words, "--json", "--dir", str(gateway.broker.written.directory)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return ran.returncode, json.loads(ran.stdout)


def test_the_models_of_an_agent_are_listed_with_prices_and_limits(gateway: Gateway) -> None:
    """Issue 7: `aam models list --as ID` with prices and limits."""
    status, mine = aam(gateway, "models", "list", "--as", "analyst")
    _, every = aam(gateway, "models", "list")

    small = next(model for model in mine if model["name"] == "small")
    assert status == 0
    assert {model["name"] for model in every} - {model["name"] for model in mine} == {"secret"}
    assert (small["max_output_tokens"], small["targets"][0]["price"]["output"]) == (100, 10.0)


def test_a_route_is_tried_target_by_target(gateway: Gateway) -> None:
    """Issue 7: `aam models test ROUTE`: each target answers, or why it does not, without its own words."""
    gateway.behaves(Behaviour(), Behaviour(status=401))

    status, found = aam(gateway, "models", "test", "twice")

    assert status == 1
    assert [(one["target"], one["works"]) for one in found] == [("openai/gpt-small", True), ("backup/llama", False)]
    assert SECRET_WORDS not in json.dumps(found)
    record = gateway.broker.records(kind="grant_tested")[-2]
    assert record["target"] == {"route": "twice", "provider": "openai", "model": "gpt-small"}
    assert gateway.service.seen[-2].body["max_completion_tokens"] == 16
