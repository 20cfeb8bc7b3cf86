"""`aam demo`: its exit status is what it proved, so it must fail where a promise is broken."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from broker.cli.demo.clients import Received
from broker.cli.demo.search import count
from broker.cli.demo.servers import DidNotStart, Servers
from broker.cli.demo.story import Story
from broker.cli.output import console
from tests.support.broker import until

AAM = Path(sys.executable).with_name("aam")


def processes_below(place: str) -> list[int]:
    """Return the processes whose command names a place."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                command = (process / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if place in command:
                found.append(int(process.name))
    return found


@pytest.fixture
def quietly() -> Iterator[None]:
    """Let the story be told to nobody."""
    console.quiet = True
    yield
    console.quiet = False


# --- The story itself -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_demo_proves_what_it_promises() -> None:
    """Issue 2, What a user can do 1: its exit code is what it proved. `.ci/run` prints how long it took."""
    ran = subprocess.run([AAM, "demo"], capture_output=True, text=True, timeout=300, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "✗" not in ran.stdout
    for chapter in ("By stdio", "By SSE", "By Streamable HTTP", "A policy changes", "Where the access token is not"):
        assert chapter in ran.stdout


@pytest.mark.slow
def test_the_demo_reads_on_a_terminal_of_a_hundred_columns() -> None:
    """Plain when not a terminal: no colours, and no line that nobody could read."""
    ran = subprocess.run([AAM, "demo"], capture_output=True, text=True, timeout=300, check=False)

    story = ran.stdout.split("Its operator checks it")[0]
    assert "\x1b" not in ran.stdout
    assert "CANARY" not in ran.stdout
    assert max(map(len, story.splitlines())) < 180


@pytest.mark.slow
def test_the_demo_speaks_json_alone_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """For programs: every promise and whether it was kept."""
    ran = subprocess.run(
        [AAM, "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # other workers' demos are none of ours
    )

    said = json.loads(ran.stdout)
    assert (ran.returncode, said["ok"]) == (0, True)
    assert len(said["proved"]) == 28
    assert all(said["proved"].values())
    until(lambda: not processes_below(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_readers_own_client_can_join_in_until_they_stop_it(ending: signal.Signals) -> None:
    """Issue 2, What a user can do 1: --keep leaves both servers running and prints the client configuration."""
    with subprocess.Popen([AAM, "demo", "--keep"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = ""
        while "Press Ctrl-C" not in said:
            line = demo.stdout.readline()
            assert line, said
            said += line
        joining = said[said.index("join in") :]
        config = json.loads(joining[joining.index("{") : joining.rindex("}") + 1])
        (server,) = config["mcpServers"].values()
        directory = next(part for part in joining.split() if part.endswith("/access"))
        mine = processes_below(directory.removesuffix("/access"))

        async def ask() -> list[str]:
            async with Client(StdioServerParameters(command=server["command"], args=server["args"])) as client:
                return [tool.name for tool in (await client.list_tools()).tools]

        tools = anyio.run(ask)
        next_command = next(line for line in joining.splitlines() if " tools --as " in line)
        listed = subprocess.run(["/bin/sh", "-c", next_command], capture_output=True, text=True, check=False)
        demo.send_signal(ending)
        demo.communicate(timeout=60)

    assert tools == ["salesforce_accounts_read", "salesforce_accounts_search"]
    assert "salesforce_accounts_read" in listed.stdout
    assert len(mine) == 2
    until(lambda: not processes_below(directory.removesuffix("/access")))
    assert not Path(directory).exists()
    assert demo.returncode == 0


@pytest.mark.slow
def test_both_servers_end_with_a_demo_that_is_stopped_half_way(tmp_path: Path) -> None:
    """Nothing goes on in the background."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([AAM, "demo"], stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        while "By stdio" not in demo.stdout.readline():
            pass
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=60)

    assert demo.returncode != 0
    until(lambda: not processes_below(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


# --- Negative controls ------------------------------------------------------------------------------------------------


class PermitsExport(Servers):
    """A broker whose policy permits what the demo promises to refuse."""

    def write_documents(self) -> None:
        """Write the starter set, and spoil its policy."""
        super().write_documents()
        policy = self.directory / "policies/finance-analyst-readonly.yaml"
        policy.write_text(policy.read_text().replace("deny: [export, update, delete]", "deny: [update, delete]"))
        policy.write_text(policy.read_text().replace("[read, search]", "[read, search, export]"))


class PermitsDescribe(Servers):
    """A broker whose policy permits a tool more."""

    def write_documents(self) -> None:
        """Write the starter set, and spoil its policy."""
        super().write_documents()
        policy = self.directory / "policies/finance-analyst-readonly.yaml"
        policy.write_text(policy.read_text().replace("[read, search]", "[read, search, describe]"))


class LogsTheToken(Servers):
    """A broker that writes what it must not into its log."""

    def service_counts(self) -> Any:
        """Write it, on the way."""
        with self.log.open("a") as log:
            log.write(f"Authorization: Bearer 00Dxx!AQ{self.canary}\n")
        return super().service_counts()


class LosesTheDocuments(Servers):
    """A starter set with a mistake."""

    def write_documents(self) -> None:
        """Write the starter set, and spoil it."""
        super().write_documents()
        (self.directory / "broken.yaml").write_text("a: [")


def told(servers: Servers) -> Story:
    """Tell the story with these servers."""
    story = Story(servers.place)
    with servers:
        anyio.run(story.tell, servers)
    return story


@pytest.mark.slow
@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (PermitsExport, {"stdio: is refused an export and an update, and told what it may do instead"}),
        (PermitsDescribe, {"stdio: lists only the tools that the policy could permit"}),
        (LogsTheToken, {"The access token is not in the broker's log"}),
    ],
)
def test_the_demo_fails_where_a_promise_is_broken(kind: type[Servers], broken: set[str], tmp_path: Path) -> None:
    """A demonstration that cannot fail shows nothing."""
    story = told(kind(tmp_path))

    assert not story.holds
    assert broken <= {promise for promise, kept in story.proved.items() if not kept}


@pytest.mark.slow
@pytest.mark.usefixtures("quietly")
def test_a_broker_that_does_not_start_says_why(tmp_path: Path) -> None:
    """Its last words are shown, not a traceback of the demo's."""
    with pytest.raises(DidNotStart) as failure:
        told(LosesTheDocuments(tmp_path))

    assert "broken.yaml:1" in str(failure.value)
    until(lambda: not processes_below(str(tmp_path)))


def test_the_rules_of_the_chapters_fit_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 80 columns a rule of 100 takes two lines."""
    monkeypatch.setattr(console, "width", 80)

    with console.capture() as told_of:
        Story(tmp_path).conclude(1.0)

    assert max(map(len, told_of.get().splitlines())) == 80


def test_a_story_that_looked_at_nothing_does_not_hold(tmp_path: Path) -> None:
    """house-style.md: default to the safe end."""
    assert not Story(tmp_path).holds


def test_the_search_finds_a_token_however_it_is_written(tmp_path: Path) -> None:
    """credentials.md B6: raw, base64 at any offset, hex."""
    canary = "CANARY0123456789abcdef"
    token = f"00Dxx!AQ{canary}rest".encode()

    for text in (token, b"x" + token.hex().encode(), __import__("base64").b64encode(b"Bearer " + token)):
        assert count(canary, text) > 0
    assert count(canary, b"CANARY0123") == 0
    assert Received(tmp_path).bytes == b""
