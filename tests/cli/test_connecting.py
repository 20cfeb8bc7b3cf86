"""`aam client-config`, `aam dev token`, `aam stdio`: what is printed really connects a client, and goes on doing so."""

# ruff: noqa: E501 - tables read across

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from joserfc import jws
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from broker.cli.init import DEVELOPMENT_KEY
from broker.testing.trust_domain import DevelopmentTrustDomain
from tests.support.workload_api import WorkloadApiServer

Aam = Callable[..., Any]
AAM = Path(sys.executable).with_name("aam")
TOOLS = ["salesforce_accounts_read", "salesforce_accounts_search"]


def list_tools(config: dict[str, Any]) -> list[str]:
    """Start what a configuration says, as an MCP client does, and list the tools."""
    (server,) = config["mcpServers"].values()

    async def ask() -> list[str]:
        async with Client(StdioServerParameters(command=server["command"], args=server["args"])) as client:
            return [tool.name for tool in (await client.list_tools()).tools]

    return anyio.run(ask)


def claims(token: str) -> Any:
    """Read a token without checking it."""
    return json.loads(jws.extract_compact(token.encode()).payload)


# --- The process as the proof -----------------------------------------------------------------------------------------


def test_the_printed_configuration_connects_as_the_agent(aam: Aam, served: Any) -> None:
    """Issue 2, What a user can do 3: it works tomorrow too: the relay, with the socket peer as proof."""
    config = aam("client-config", "finance-analyst", "--dir", served.directory, "--json").json

    assert list_tools(config) == TOOLS
    assert "token" not in json.dumps(config).lower()


def test_every_snippet_of_the_page_is_the_same_command(aam: Aam, served: Any) -> None:
    """People paste the one for their client; what they see is what --json says."""
    page = aam("client-config", "finance-analyst", "--dir", served.directory).out
    config = aam("client-config", "finance-analyst", "--dir", served.directory, "--json").json["mcpServers"][
        "enterprise"
    ]

    first, second = (json.loads(part[part.index("{") : part.rindex("}") + 1]) for part in page.split("# ")[1:3])
    assert first["mcpServers"]["enterprise"] == config
    assert second["servers"]["enterprise"] == {"type": "stdio", **config}
    assert f"claude mcp add enterprise -- {config['command']} {' '.join(config['args'])}" in page


def test_an_agent_without_selectors_is_told_to_use_a_token(aam: Aam, own: Any) -> None:
    """The relay would start, and be refused."""
    agent = own.directory / "agents/finance-analyst.yaml"
    agent.write_text(agent.read_text().split("  # A local process")[0])

    ran = aam("client-config", "finance-analyst", "--dir", own.directory)

    assert ran.code == 0
    assert "use --token-file" in ran.err


# --- A token file as the proof ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_token_file_that_a_helper_renews_connects_tomorrow_too(
    aam: Aam, served: Any, tmp_path: Path, until: Any
) -> None:
    """Issue 2, What a user can do 3: or a token file that a helper renews; the helper's command is printed too."""
    file = tmp_path / "agent.jwt"
    page = aam("client-config", "finance-analyst", "--dir", served.directory, "--token-file", file).out
    config = aam("client-config", "finance-analyst", "--dir", served.directory, "--token-file", file, "--json").json
    helper = page.strip().splitlines()[-1]
    assert helper.endswith(f"--write {file} --renew")

    with subprocess.Popen([*helper.split(), "--seconds", "10"], stderr=subprocess.DEVNULL) as renewing:
        until(file.exists)
        first = file.read_text()
        assert list_tools(config) == TOOLS
        until(lambda: file.read_text() != first)  # half of ten seconds later
        assert list_tools(config) == TOOLS
        renewing.send_signal(signal.SIGINT)
        assert renewing.wait(60) == 0

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert claims(file.read_text())["exp"] - claims(file.read_text())["iat"] == 10


def test_the_printed_configuration_fetches_its_tokens_from_the_workload_api(
    aam: Aam, served: Any, tmp_path: Path
) -> None:
    """identity.md A9: the relay asks for its agent's own token, for the broker's audience; no secret is printed."""
    domain = DevelopmentTrustDomain.read("prod", served.directory / DEVELOPMENT_KEY)
    workload = "spiffe://prod/agent/finance-analyst"
    asked = ("client-config", "finance-analyst", "--dir", served.directory, "--json", "--workload-api")
    with WorkloadApiServer(tmp_path / "agent.sock") as api:
        api.agent.tokens = {os.getuid(): [(workload, lambda name, audiences: domain.mint(name, audiences[0]))]}
        config = aam(*asked, api.endpoint).json

        assert list_tools(config) == TOOLS

    assert {call.request.spiffe_id for call in api.agent.calls} == {workload}
    assert aam(*asked, "unix:///x", "--token-file", "t").code == 2


def test_a_token_file_that_is_gone_is_said_to_whoever_develops_the_agent(aam: Aam, served: Any, tmp_path: Path) -> None:
    """lessons.md 1: a proof that fails is never replaced by a weaker one, here the process that it is."""
    config = aam(
        "client-config", "finance-analyst", "--dir", served.directory, "--token-file", tmp_path / "gone", "--json"
    ).json["mcpServers"]["enterprise"]
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}

    ran = subprocess.run(
        [config["command"], *config["args"]],
        input=json.dumps(request) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert json.loads(ran.stdout)["error"]["data"]["code"].startswith("proof_")
    assert "cannot be read" in ran.stderr


# --- Tokens of the development domain ---------------------------------------------------------------------------------


def test_a_minted_token_connects_by_http(aam: Aam, served: Any) -> None:
    """Issue 2, What a user can do 3: `aam dev token` mints a short-lived SVID of the development trust domain."""
    token = aam("dev", "token", "finance-analyst", "--dir", served.directory).out.strip()

    async def ask() -> list[str]:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
            Client(streamable_http_client(served.url + "/mcp", http_client=http)) as client,
        ):
            return [tool.name for tool in (await client.list_tools()).tools]

    assert anyio.run(ask) == TOOLS
    assert claims(token)["sub"] == "spiffe://prod/agent/finance-analyst"
    assert claims(token)["exp"] - time.time() <= 300


def test_a_token_is_json_too(aam: Aam, own: Any, tmp_path: Path) -> None:
    """For programs: the token, or where it was written."""
    printed = aam("dev", "token", "finance-analyst", "--dir", own.directory, "--seconds", "60", "--json").json
    written = aam("dev", "token", "finance-analyst", "--dir", own.directory, "--write", tmp_path / "t", "--json").json

    assert (printed["expires_in"], claims(printed["token"])["aud"]) == (60, [f"{own.url}/mcp"])
    assert written == {"file": str(tmp_path / "t"), "expires_in": 300}


def test_a_token_that_is_written_is_not_printed(aam: Aam, own: Any, tmp_path: Path) -> None:
    """A terminal's history is no place for it."""
    ran = aam("dev", "token", "finance-analyst", "--dir", own.directory, "--write", tmp_path / "t")

    assert ran.out == ""
    assert (tmp_path / "t").read_text().strip() not in ran.err


def _production(place: Path) -> None:
    """Turn the development domain into another."""
    domain = place / "trust-domain.yaml"
    domain.write_text(domain.read_text().replace("  development: true\n", ""))
    agent = place / "agents/finance-analyst.yaml"
    agent.write_text(agent.read_text().split("  # A local process")[0])


def nothing(_place: Path) -> None:
    """Break nothing."""


MISUSES: list[tuple[str, Callable[[Path], object], list[str], str]] = [
    ("renewing nothing", nothing, ["--renew"], "--renew needs --write"),
    ("a place that is none", nothing, ["--write", "/proc/nowhere/t"], "cannot be written"),
    ("a place that is taken", lambda place: (place / "taken").mkdir(), ["--write", "taken"], "no regular file"),
    ("no key", lambda place: (place / "secrets/development-prod.jwk").unlink(), [], "cannot be read"),
    ("a key that is none", lambda place: (place / "secrets/development-prod.jwk").write_text('{"d":"SECRET"}'), [], "not an EC key"),
    ("no development", _production, [], "is not for development"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "break_it", "more", "words"), MISUSES, ids=[what for what, *_ in MISUSES])
def test_a_token_that_cannot_be_minted_is_said_without_a_traceback(
    aam: Aam,
    own: Any,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    break_it: Callable[[Path], object],
    more: list[str],
    words: str,
) -> None:
    """A sentence and a status, as text and as JSON; what is in a key file is not repeated."""
    break_it(own.directory)
    monkeypatch.chdir(own.directory)

    ran = aam("dev", "token", "finance-analyst", "--dir", own.directory, *more)
    as_json = aam("dev", "token", "finance-analyst", "--dir", own.directory, *more, "--json")

    assert ran.code in {1, 2}, what
    assert words in ran.err
    assert words in as_json.json["message"]
    assert "SECRET" not in ran.err + as_json.out


# --- The relay --------------------------------------------------------------------------------------------------------


def test_the_relay_answers_the_client_when_there_is_no_broker(tmp_path: Path) -> None:
    """An MCP client shows its user the answer to its first request, and nothing of what a program writes to stderr."""
    request = {"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {}}

    ran = subprocess.run(
        [AAM, "stdio", "--socket", tmp_path / "nowhere.sock"],
        input=json.dumps(request) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    answer = json.loads(ran.stdout)
    assert (ran.returncode, answer["id"], answer["error"]["data"]["code"]) == (1, 7, "daemon_unreachable")


def test_the_relay_takes_its_settings_from_the_environment_too(served: Any) -> None:
    """Some clients can only set variables."""
    request = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    environment = {"AAM_AGENTS_SOCKET": str(served.directory / "run/agents.sock"), "AAM_AGENT": "finance-analyst"}

    ran = subprocess.run(
        [AAM, "stdio"],
        input=json.dumps(request) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )

    assert json.loads(ran.stdout)["id"] == 1
    assert ran.returncode == 0


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--socket"], ["extra"]])
def test_a_relay_that_is_started_wrongly_says_so_on_stderr(arguments: list[str]) -> None:
    """Stdout belongs to the protocol."""
    ran = subprocess.run([AAM, "stdio", *arguments], capture_output=True, text=True, check=False, timeout=60)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert "usage: aam stdio" in ran.stderr
