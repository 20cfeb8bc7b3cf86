"""`aam models`: which models there are, what they cost, and whether what answers for them does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from broker.testing.models import SECRET_WORDS, Behaviour
from tests.support.models import Gateway

RUN = "1bf7651916cd43dd8448eb211c80319d"
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


def test_the_trail_draws_models_and_tools_of_one_run_together(gateway: Gateway) -> None:
    """Issue 7: run and trace ids tie model calls to the tool calls they led to; `aam trail show` draws them."""
    trace = f"00-{RUN}-b7ad6b7169203331-01"
    gateway.behaves(Behaviour(status=503))
    model = gateway.chat("twice", headers={"traceparent": trace}).headers["x-aam-call-id"]
    tool = call_notes(gateway, trace)

    _, shown = aam(gateway, "trail", "show", model)
    told = subprocess.run(
        [str(AAM), "trail", "show", model, "--dir", str(gateway.broker.written.directory)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    _, other = aam(gateway, "trail", "show", tool)

    assert [one["call_id"] for one in shown["run"]] == [tool]
    assert [one["resource"] for one in other["run"]] == ["models.twice"]
    assert "openai/gpt-small failed (overloaded)" in told
    assert "backup/llama (eu, zdr) answered" in told
    assert "notes.notes read" in told
    assert "$0.000061 of" in told


def call_notes(gateway: Gateway, traceparent: str) -> str:
    """Read a note by MCP in the same run, and return the call's id."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "traceparent": traceparent,
    }
    params = {"name": "notes_notes_read", "arguments": {"id": "n1"}, "_meta": meta}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "notes_notes_read",
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = gateway.post("/mcp", body, headers).json()
    return str(answer["result"]["_meta"]["dev.envisionai.access/call_id"])
