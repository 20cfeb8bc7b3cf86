"""OAuth flows of clients that are not ours, at authorization servers that are not ours, up to a call of a tool."""

import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.support.broker import ServedBroker
from tests.support.clients import CALL_ID
from tests.support.documents import write_documents
from tests.support.idp import CLIENT, AuthorizationServer, log_in, node_modules, serving
from tests.support.issuers import issuer_document
from tests.support.notes import Notes, NotesService
from tests.support.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.node]

SERVERS = ["oidc-provider", "pytest-iam"]
_URL = re.compile(r"https://localhost:\d+/\S*authoriz\S*|https://localhost:\d+/auth\S*")
PATIENCE = 120.0


class Flow:
    """A broker that takes the tokens of one authorization server, and where a client waits for its code."""

    def __init__(self, broker: ServedBroker, server: AuthorizationServer, callback: int, place: Path) -> None:
        self.broker = broker
        self.server = server
        self.callback = callback
        self.home = place
        self.environment = {
            **os.environ,
            "HOME": str(place),
            "NODE_EXTRA_CA_CERTS": server.authority,
            "MCP_REMOTE_CONFIG_DIR": str(place / "mcp-remote"),
            "BROWSER": "true",
            "MCP_AUTO_OPEN_ENABLED": "true",
            "MCP_INSPECTOR_SECRET_STORE": "memory",
        }

    def log_in_when_asked(self, said: IO[str]) -> "queue.Queue[str]":
        """Read what a client says until it asks for a login, and log in; return what it says, line by line."""
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            asked = False
            with said:
                for line in said:
                    lines.put(line)
                    found = _URL.search(line)
                    if found is not None and not asked:
                        asked = True
                        lines.put(self._log_in(found[0]))

        threading.Thread(target=read, daemon=True).start()
        return lines

    def _log_in(self, url: str) -> str:
        try:
            return log_in(url, "jane", self.server.authority)
        except Exception as error:  # noqa: BLE001 - the test shows what the person saw
            return repr(error)


@pytest.fixture(params=SERVERS)
def flow(request: pytest.FixtureRequest, notes_service: NotesService, tmp_path: Path) -> Iterator[Flow]:
    """Serve an authorization server and a broker that knows it."""
    port, callback = free_port(), free_port()
    audience = f"http://127.0.0.1:{port}/mcp"
    redirects = [f"http://{host}:{callback}/oauth/callback" for host in ("localhost", "127.0.0.1")]
    written = write_documents(
        tmp_path / "access", notes_service, audience=audience, listen={"http": f"127.0.0.1:{port}"}
    )
    (tmp_path / "idp").mkdir()
    with serving(request.param, audience, redirects, tmp_path / "idp") as server:
        (written.directory / "idp.pem").write_text(Path(server.authority).read_text())
        keys = {"certificate_authority": "idp.pem", "private_ranges": ["127.0.0.0/8", "::1/128"]}
        rule = {"agent": "analyst", "client": CLIENT}
        written.put(
            "issuer.yaml",
            issuer_document(rule, issuer=server.issuer, keys=keys, required_scopes=list(server.scopes)),
        )
        with ServedBroker(written, Notes()) as broker:
            yield Flow(broker, server, callback, tmp_path)


def assert_called_for_jane(flow: Flow, call_id: str) -> None:
    """Check that the trail says who called, how that was proved, and on whose behalf."""
    identity = flow.broker.story(call_id)["requested"]["identity"]
    assert (identity["agent"], identity["method"], identity["issuer"]) == ("analyst", "oidc", flow.server.issuer)
    assert (identity["on_behalf_of"]["iss"], identity["on_behalf_of"]["sub"]) == (flow.server.issuer, "jane")
    assert flow.broker.outcome(call_id)["status"] == "released"


def test_mcp_remote_logs_a_person_in_and_calls_a_tool(flow: Flow) -> None:
    """Issue 4, OAuth resource server: mcp-remote completes its flow and calls a tool through the broker."""
    command = Path(node_modules()) / ".bin/mcp-remote"
    arguments = [f"{flow.broker.url}/mcp", str(flow.callback), "--allow-http", "--auth-timeout", "120"]
    arguments += ["--static-oauth-client-info", json.dumps({"client_id": CLIENT})]
    reading, writing = os.pipe()
    said = flow.log_in_when_asked(os.fdopen(reading))

    async def case(errors: TextIO) -> Any:
        parameters = StdioServerParameters(command=str(command), args=arguments, env=flow.environment)
        with anyio.fail_after(PATIENCE):
            async with Client(stdio_client(parameters, errlog=errors)) as client:
                return await client.call_tool("notes_notes_read", {"id": "n1"})

    with os.fdopen(writing, "w") as errors:
        try:
            answer = anyio.run(case, errors)
        except BaseException:
            sys.stderr.write("".join(said.queue))
            raise

    assert_called_for_jane(flow, answer.meta[CALL_ID])


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector_logs_a_person_in_and_calls_a_tool(flow: Flow, era: str) -> None:
    """Issue 4, OAuth resource server: the Inspector completes its flow and calls a tool through the broker."""
    command = [
        str(Path(node_modules()) / ".bin/mcp-inspector"),
        "--cli",
        f"{flow.broker.url}/mcp",
        "--transport",
        "http",
    ]
    command += ["--client-id", CLIENT, "--callback-url", f"http://127.0.0.1:{flow.callback}/oauth/callback"]
    command += ["--method", "tools/call", "--tool-name", "notes_notes_read", "--tool-arg", "id=n1"]
    command += ["--protocol-era", era, "--format", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=flow.environment, cwd=flow.home
    ) as process:
        assert process.stderr is not None
        said = flow.log_in_when_asked(process.stderr)
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        answered = process.stdout.read()
        watchdog.cancel()

    assert answered, "".join(said.queue)
    answer = json.loads(answered)
    assert_called_for_jane(flow, answer.get("result", answer)["_meta"][CALL_ID])
