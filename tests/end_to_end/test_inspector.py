import json
import subprocess
from typing import Any

import pytest

from tests.support.broker import BrokerProcess
from tests.support.clients import AAM, TRANSPORTS, Transport
from tests.support.idp import node_modules

pytestmark = [pytest.mark.node, pytest.mark.slow]
LISTED = {"salesforce_accounts_read", "salesforce_accounts_search", "salesforce_accounts_describe"}


@pytest.fixture(scope="session")
def inspector() -> str:
    """Find the Inspector's command; without it there is nothing to test with."""
    return f"{node_modules()}/.bin/mcp-inspector"


def inspect(inspector: str, broker: BrokerProcess, transport: Transport, era: str, *method: str) -> Any:
    """Run one method with the Inspector and return what it prints."""
    if transport == "stdio":
        target, options = ["--", str(AAM), "stdio", "--socket", broker.agents_socket], []
    else:
        kind, path = ("sse", "sse") if transport == "sse" else ("http", "mcp")
        target, options = [], [f"{broker.url}/{path}", "--transport", kind]
        options += ["--header", f"Authorization: Bearer {broker.token()}"]
    command = [inspector, "--cli", *options, "--protocol-era", era, *method, *target]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_inspector_lists_and_calls(inspector: str, starter: BrokerProcess, transport: Transport, era: str) -> None:
    """Issue 2, Tests: the Inspector CLI, an independent client, over http, sse and stdio, legacy and modern."""
    listed = inspect(inspector, starter, transport, era, "--method", "tools/list")
    call = ("--method", "tools/call", "--tool-name")
    answered = inspect(inspector, starter, transport, era, *call, "salesforce_accounts_search", "--tool-arg", "limit=2")
    refused = inspect(inspector, starter, transport, era, *call, "salesforce_accounts_read", "--tool-arg", "id=nope")

    assert {tool["name"] for tool in listed["tools"]} >= LISTED
    assert len(answered["structuredContent"]["records"]) == 2
    assert refused["isError"] is True
    assert refused["_meta"]["dev.envisionai.access/code"] == "invalid_arguments"
