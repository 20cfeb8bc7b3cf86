"""Clients that are not ours list and call through the broker, over every transport that they have.

What each spoke is taken from the broker's own trail; `AAM_CLIENTS_REPORT` names a file for the table.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.support.broker import ServedBroker
from tests.support.clients import AAM
from tests.support.idp import absent, node_modules

pytestmark = [pytest.mark.slow, pytest.mark.node]

HERE = Path(__file__).parent
TOOL, FORBIDDEN, TEXT = "notes_notes_read", "notes_notes_purge", "Revenue grew."
LEGACY, MODERN = "2025-11-25", "2026-07-28"
_PATIENCE = 180.0
Wanted = dict[str, Any]

# client, transport, era asked for, revision that is spoken then
CASES = [
    *(("inspector", transport, era, revision)
      for transport in ("stdio", "sse", "http") for era, revision in (("legacy", LEGACY), ("modern", MODERN))),
    *(("typescript-v1", transport, "legacy", LEGACY) for transport in ("stdio", "sse", "http")),
    *(("typescript-v2", transport, era, revision)
      for transport in ("stdio", "sse", "http") for era, revision in (("legacy", LEGACY), ("modern", MODERN))),
    ("fastmcp", "stdio", "auto", MODERN), ("fastmcp", "sse", "auto", LEGACY), ("fastmcp", "http", "auto", MODERN),
    *(("openai-agents", transport, "auto", MODERN) for transport in ("stdio", "sse", "http")),
    *(("langchain", transport, "auto", LEGACY) for transport in ("stdio", "sse", "http")),
    *(("mcp-remote", transport, era, revision)
      for transport in ("sse", "http") for era, revision in (("legacy", LEGACY), ("modern", MODERN))),
]  # fmt: skip


def python(variable: str, what: str) -> str:
    """Find a Python that has a client."""
    place = os.environ.get(variable)
    if place is None:
        absent(f"{variable} names no Python that has {what}")
    return place


def ran(command: list[str]) -> Any:
    """Run a client, for no longer than it may take, and return the last thing that it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def by_script(*command: str) -> Callable[[Wanted], Any]:
    """Return what runs one of the scripts beside this file."""
    return lambda wanted: ran([*command, json.dumps(wanted)])


def by_inspector(wanted: Wanted) -> Any:
    """Run the Inspector's CLI, once for each method."""
    command = [f"{wanted['modules']}/.bin/mcp-inspector", "--cli"]
    if wanted["transport"] == "stdio":
        target, options = ["--", *wanted["command"]], []
    else:
        target, options = [], [wanted["url"], "--transport", wanted["transport"]]
        options += ["--header", f"Authorization: Bearer {wanted['token']}"]

    def inspect(*method: str) -> Any:
        whole = [*command, *options, "--protocol-era", wanted["era"], *method, *target]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    tools = inspect("--method", "tools/list")["tools"]
    call = ("--method", "tools/call", "--tool-name", wanted["tool"], "--tool-arg", "id=n1")
    answer, refused = inspect(*call), inspect(*call, "--tool-arg", "more=1")
    return {
        "tools": [tool["name"] for tool in tools],
        "text": answer["content"][0]["text"],
        "refused": refused["isError"],
    }


def by_mcp_remote(wanted: Wanted) -> Any:
    """Put mcp-remote between the Python client and the broker."""
    arguments = [wanted["url"], "--allow-http", "--transport", f"{wanted['transport']}-only"]
    arguments += ["--header", f"Authorization: Bearer {wanted['token']}"]
    environment = {**os.environ, "MCP_REMOTE_CONFIG_DIR": wanted["place"]}
    parameters = StdioServerParameters(command=f"{wanted['modules']}/.bin/mcp-remote", args=arguments, env=environment)
    mode: Any = "legacy" if wanted["era"] == "legacy" else MODERN

    async def main() -> Any:
        with anyio.fail_after(_PATIENCE):
            async with Client(stdio_client(parameters), mode=mode) as client:
                tools = (await client.list_tools()).tools
                answer: Any = await client.call_tool(wanted["tool"], wanted["arguments"])
                refused = await client.call_tool(wanted["tool"], wanted["wrong"])
        return {"tools": [tool.name for tool in tools], "text": answer.content[0].text, "refused": refused.is_error}

    return anyio.run(main)


def client(name: str) -> Callable[[Wanted], Any]:
    """Return what makes a client do it; skip, saying why, where it is not there."""
    scripts: dict[str, Callable[[], tuple[str, ...]]] = {
        "typescript-v1": lambda: ("node", str(HERE / "with_ts_v1.mjs")),
        "typescript-v2": lambda: ("node", str(HERE / "with_ts_v2.mjs")),
        "fastmcp": lambda: (python("AAM_CLIENTS_PYTHON", "fastmcp"), str(HERE / "with_fastmcp.py")),
        "openai-agents": lambda: (
            python("AAM_CLIENTS_PYTHON", "openai-agents"), str(HERE / "with_openai_agents.py")
        ),
        "langchain": lambda: (
            python("AAM_LANGCHAIN_PYTHON", "langchain-mcp-adapters"), str(HERE / "with_langchain.py")
        ),
    }  # fmt: skip
    if name in scripts:
        return by_script(*scripts[name]())
    return by_inspector if name == "inspector" else by_mcp_remote


@pytest.mark.parametrize(("name", "transport", "era", "revision"), CASES, ids=str)
def test_a_client_lists_and_calls(
    broker: ServedBroker, tmp_path: Path, name: str, transport: str, era: str, revision: str
) -> None:
    """Issue 6: every client of mcp.md §4 that runs offline lists and calls through the broker."""
    run = client(name)
    before = len(broker.records(kind="requested"))
    wanted = {
        "modules": node_modules() if name in {"inspector", "mcp-remote"} or name.startswith("typescript") else "",
        "transport": transport,
        "era": era,
        "url": f"{broker.url}/{'sse' if transport == 'sse' else 'mcp'}",
        "command": [str(AAM), "stdio", "--socket", broker.agents_socket],
        "token": broker.token(),
        "tool": TOOL,
        "arguments": {"id": "n1"},
        "wrong": {"id": "n1", "more": "1"},
        "place": str(tmp_path),
    }

    said = run(wanted)

    assert TOOL in said["tools"]
    assert FORBIDDEN not in said["tools"]
    assert TEXT in said["text"]
    assert said["refused"] is True
    called, refused = broker.records(kind="requested")[before:]
    assert broker.outcome(called["call_id"])["status"] == "released"
    assert broker.outcome(refused["call_id"])["code"] == "invalid_arguments"
    assert called["origin"]["protocol"] == revision
    report(f"{name:<14} {transport:<6} asked for {era:<7} spoke {called['origin']['protocol']} as {_told(called)}")


def _told(called: dict[str, Any]) -> str:
    origin = called["origin"]
    return f"{origin.get('client')} {origin.get('client_version')} over {origin['transport']}"


def report(line: str) -> None:
    """Add a line to the table that CI prints; workers add to it side by side."""
    place = os.environ.get("AAM_CLIENTS_REPORT")
    if place is not None:
        with Path(place).open("a") as table:
            table.write(line + "\n")
    sys.stdout.write(line + "\n")
