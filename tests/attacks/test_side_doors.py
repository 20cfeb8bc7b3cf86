import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import pytest
import requests
from mcp.shared.exceptions import MCPError

from broker.app import Options
from broker.documents import Documents, Invalid, load
from tests.support.broker import ServedBroker
from tests.support.clients import ERAS, TRANSPORTS, Era, Lines, Transport, connected
from tests.support.documents import OTHER, Written, broker_document
from tests.support.notes import Notes
from tests.support.operators import OperatorRefused

LISTED = {"notes_notes_misbehave", "notes_notes_read", "notes_notes_write"}
ALL = {f"notes_{kind}_{action}" for kind in ("notes", "secrets") for action in ("read", "write", "purge", "archive")}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_door_lists_or_calls_past_the_policy(broker: ServedBroker, transport: Transport, era: Era) -> None:
    """lessons.md 3: a gateway that checked in one flow only; here the same line stands behind every door and era."""

    async def refused(client: Any, tool: str) -> bool:
        try:
            result = await client.call_tool(tool, {"id": "n1"})
        except MCPError as error:
            return bool(error.error.data["code"] == "unknown_tool")
        return bool(result.is_error)

    async def case() -> None:
        async with connected(broker, transport, era) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == LISTED
            for tool in sorted(ALL - LISTED):
                assert await refused(client, tool), tool

    anyio.run(case)


def test_another_agents_permission_is_of_no_use(broker: ServedBroker) -> None:
    """lessons.md 6: what one agent may do, another on the same connection, or beside it, may not."""
    with Lines(broker.agents_socket) as lines:
        proof = {"token": broker.token(OTHER)}
        read, write = (
            lines.ask("tools/call", {"name": f"notes_notes_{action}", "arguments": {"id": "n1"}}, proof)["result"]
            for action in ("read", "write")
        )

    assert not read.get("isError")
    assert write["_meta"]["dev.envisionai.access/code"] == "access_denied"


@pytest.mark.parametrize("path", ["/mcp", "/sse", "/messages/", "/healthz", "/.well-known/oauth-protected-resource"])
def test_the_operators_socket_serves_no_agent(broker: ServedBroker, path: str) -> None:
    """Each door has its own requests; an operator's connection is no way around a proof."""
    with pytest.raises(OperatorRefused) as raised:
        broker.operators.get(path)

    assert (raised.value.status, raised.value.code) == (404, "operator_request_invalid")


def test_no_request_of_the_network_can_change_what_is_run(broker: ServedBroker) -> None:
    """lessons.md 2: a "test connection" that ran commands. Connectors come from documents on disk and nothing else."""
    body = {"type": "stdio", "command": "touch /tmp/pwned", "url": "https://evil.example"}

    for path in ("/v1/grants", "/v1/connectors", "/v1/connectors/notes/snapshot", "/mcp/test/connection", "/api/test"):
        response = requests.post(
            broker.url + path, json=body, headers={"Authorization": f"Bearer {broker.token()}"}, timeout=60
        )
        assert response.status_code == 404

    tested = broker.operators.post("/v1/grants/notes/test", body)  # it takes no body, so nothing in one has a meaning
    assert tested["answer"] == "Revenue grew."


def test_a_user_who_is_operator_and_agent_is_refused_at_load(written: Written, notes: Notes) -> None:
    """lessons.md 10, architecture.md: outside development mode nobody is both, so no agent can approve itself."""
    user = Path(f"/proc/{os.getpid()}").owner()
    written.put(
        "trust.yaml", (written.directory / "trust.yaml").read_text().replace("development: true", "development: false")
    )
    written.put("broker.yaml", broker_document(operators=[{"user": user, "role": "auditor"}]))

    with pytest.raises(Invalid) as raised:
        load(written.directory, notes.find)

    assert any("is an operator" in problem.message for problem in raised.value.problems)


def test_an_agent_that_becomes_an_operators_user_later_is_no_agent(written: Written, notes: Notes) -> None:
    """The check at load has a second one behind it, where a process connects."""
    from broker.control import KillSwitch  # noqa: PLC0415
    from broker.doors.entrance import Entrance, RefusedAuthentications  # noqa: PLC0415
    from broker.errors import PeerUnknown  # noqa: PLC0415
    from broker.identity import Identifier, Peer, Proof, TrustStore  # noqa: PLC0415

    options = Options(written.directory, find=notes.find)
    documents = Documents(load(options.directory, options.find), options.find)
    current = documents.current
    domain = {"prod": type(current.trust_domains["prod"])("prod", "production")}
    identifier = Identifier("x", TrustStore(), lambda: current.registry, lambda: domain)
    object.__setattr__(current, "trust_domains", domain)
    recorded: list[Any] = []

    async def note(kind: str, **facts: Any) -> None:
        recorded.append((kind, facts))

    switch = KillSwitch(documents, Mock(), Mock())
    entrance = Entrance(documents, switch, identifier, RefusedAuthentications(note), development=False)
    peer = Peer(1, os.getuid(), os.getgid(), frozenset({f"unix:uid:{os.getuid()}"}))

    with pytest.raises(PeerUnknown):
        anyio.run(entrance.admit, Proof(peer=peer), "stdio", "uid:0")
    assert len(recorded) == 1


@pytest.fixture
def notes() -> Notes:
    """Lend the connector."""
    return Notes()
