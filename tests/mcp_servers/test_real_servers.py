"""MCP servers that nobody here wrote, behind the broker: pinned, listed and called as any connector.

They are programs: npm's server-everything, -filesystem and -memory, PyPI's mcp-server-git and -time. `AAM_MCP_SERVERS`
names the `node_modules` of the first, `AAM_MCP_PYTHON` a Python that has the second.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp_types import TextContent

from tests.support.broker import ServedBroker
from tests.support.clients import Wire, connected
from tests.support.mcp_servers import as_program, find, pin, write_set

pytestmark = [pytest.mark.slow, pytest.mark.node, pytest.mark.anyio]
Served = Callable[..., ServedBroker]
PATIENT = {"limits": {"total_seconds": 60}}


def npm(name: str) -> list[str]:
    """Return the command of one of npm's, or skip."""
    place, node = os.environ.get("AAM_MCP_SERVERS"), shutil.which("node")
    if place is None or node is None:
        assert "AAM_CI" not in os.environ, "CI brings these servers"
        pytest.skip("needs AAM_MCP_SERVERS: a node_modules with npm's reference servers")
    return [node, str(Path(place) / f"@modelcontextprotocol/server-{name}/dist/index.js")]


def pypi(name: str) -> list[str]:
    """Return the command of one of PyPI's, or skip."""
    python = os.environ.get("AAM_MCP_PYTHON")
    if python is None:
        assert "AAM_CI" not in os.environ, "CI brings these servers"
        pytest.skip("needs AAM_MCP_PYTHON: a Python with mcp-server-git and mcp-server-time")
    return [python, "-m", f"mcp_server_{name}"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Serve a broker in front of one such server, with what it says of itself pinned."""
    brokers: list[ServedBroker] = []

    def serve(command: list[str], rules: list[dict[str, Any]], lets: Any = (), **process: Any) -> ServedBroker:
        spec = {**as_program(command, lets=list(lets)), **PATIENT}
        spec["process"] = {**spec["process"], **process}
        written = write_set(tmp_path / "access", {"up": spec}, rules)
        broker = ServedBroker(written, grant=False, find=find)
        brokers.append(broker)
        broker.__enter__()
        pin(broker, "up")
        return broker

    yield serve
    for broker in brokers:
        broker.__exit__()


def said(answered: Any) -> str:
    """Return the text of a result."""
    assert not answered.result.get("isError"), answered.result
    return str(answered.result["content"][0]["text"])


def test_everything(served: Served) -> None:
    """Issue 6, `mcp`: server-everything: tools, resources, prompts and completion."""
    broker = served([*npm("everything"), "stdio"], [{"resource": "up.*", "actions": ["*"]}])
    wire = Wire(broker)

    assert said(wire.call("up_echo", {"message": "hello"})) == "Echo: hello"
    assert "up_simple-prompt" in [one["name"] for one in wire.ask("prompts/list").result["prompts"]]
    assert wire.ask("prompts/get", {"name": "up_simple-prompt"}).result["messages"]
    resources = wire.ask("resources/list").result["resources"]
    read = wire.ask("resources/read", {"uri": resources[0]["uri"]}, Mcp_Name=resources[0]["uri"])
    assert read.result["contents"][0]["uri"] == resources[0]["uri"]


def test_filesystem(served: Served, tmp_path: Path) -> None:
    """Issue 6, `mcp`: server-filesystem: reading is permitted, writing is not, and its own schemas hold."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "report.txt").write_text("Revenue grew.")
    broker = served([*npm("filesystem"), str(shared)], [{"resource": "up.*", "actions": ["read"]}])
    wire = Wire(broker)

    listed = wire.tools()
    assert "up_read_text_file" in listed
    assert "up_write_file" not in listed
    read = wire.call("up_read_text_file", {"path": str(shared / "report.txt")})
    assert said(read) == "Revenue grew."
    assert read.result["structuredContent"] == {"content": "Revenue grew."}
    refused = wire.call("up_write_file", {"path": str(shared / "report.txt"), "content": "x"})
    assert refused.code in {"unknown_tool", "access_denied"}
    assert (shared / "report.txt").read_text() == "Revenue grew."


def test_memory(served: Served, tmp_path: Path) -> None:
    """Issue 6, `mcp`: server-memory: what is written stays, in the one program that all calls share."""
    memory = {"MEMORY_FILE_PATH": str(tmp_path / "memory.json")}
    broker = served(npm("memory"), [{"resource": "up.*", "actions": ["*"]}], environment=memory)
    wire = Wire(broker)

    entity = {"name": "Acme", "entityType": "customer", "observations": ["pays late"]}
    said(wire.call("up_create_entities", {"entities": [entity]}))

    assert "pays late" in said(wire.call("up_search_nodes", {"query": "Acme"}))


def test_git(served: Served, tmp_path: Path) -> None:
    """Issue 6, `mcp`: mcp-server-git, on a repository."""
    place = tmp_path / "repository"
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", "init", "-q", str(place)], check=True)
    commit = ["git", "-C", str(place), *identity, "commit", "-q", "--allow-empty", "-m", "a first step"]
    subprocess.run(commit, check=True)
    search = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [*pypi("git"), "--repository", str(place)]
    broker = served(command, [{"resource": "up.git_log", "actions": ["*"]}], environment=search)
    wire = Wire(broker)

    assert wire.tools() == ["up_git_log"]
    assert "a first step" in said(wire.call("up_git_log", {"repo_path": str(place)}))


async def test_time(served: Served) -> None:
    """Issue 6, `mcp`: mcp-server-time, by clients of both eras."""
    broker = served([*pypi("time"), "--local-timezone", "UTC"], [{"resource": "up.*", "actions": ["*"]}])

    for era in ("legacy", "2026-07-28"):
        async with connected(broker, "streamable-http", era) as client:
            result = await client.call_tool("up_get_current_time", {"timezone": "UTC"})
            (content,) = result.content
            assert isinstance(content, TextContent)
            assert json.loads(content.text)["timezone"] == "UTC"
