import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client, MCPError

from tests.support.broker import BrokerProcess, ServedBroker, until
from tests.support.clients import AAM, CALL_ID, ERAS, Era, connected, request
from tests.support.documents import OTHER, Written
from tests.support.notes import NotesService

READ: dict[str, Any] = {"name": "notes_notes_read", "arguments": {"id": "n1"}}
WRITE: dict[str, Any] = {"name": "notes_notes_write", "arguments": {"id": "by relay"}}
Relay = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def relay(broker: ServedBroker) -> Iterator[Relay]:
    """Start `aam stdio`, as an MCP client would."""
    with ExitStack() as stack:

        def relay(*options: str, agents_socket: str = broker.agents_socket) -> "subprocess.Popen[bytes]":
            process = stack.enter_context(
                subprocess.Popen(
                    [AAM, "stdio", "--socket", agents_socket, *options],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
            stack.callback(process.kill)
            return process

        yield relay


def say(process: "subprocess.Popen[bytes]", message: dict[str, Any]) -> None:
    """Write a message to a relay's stdin."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def ask(process: "subprocess.Popen[bytes]", method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask through a relay."""
    say(process, request(method, params))
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def test_a_relay_holds_nothing_and_imports_little() -> None:
    """architecture.md, Processes: `aam stdio` is a thin relay; it starts with every agent."""
    code = "import sys, broker.doors.stdio; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not set(imported) & {
        "mcp",
        "pydantic",
        "starlette",
        "anyio",
        "cryptography",
        "aiohttp",
        "asyncio",
        "sqlite3",
    }


def test_without_a_daemon_the_first_request_says_so(relay: Relay, tmp_path: Path) -> None:
    """A client shows an answer; it may not show what a process writes to stderr."""
    process = relay(agents_socket=str(tmp_path / "nobody.sock"))

    answer = ask(process, "tools/list")

    assert answer["error"]["data"] == {"code": "daemon_unreachable"}
    assert "aam serve" in answer["error"]["message"]
    process.stdin.close()  # type: ignore[union-attr]
    assert process.wait(60) == 1


def test_answers_still_arrive_after_stdin_is_closed(relay: Relay, notes_service: NotesService) -> None:
    """A shell's pipe closes stdin at once; what was asked is answered, and then the relay ends well."""
    process = relay()
    with notes_service.holding():
        say(process, request("tools/call", READ, "a"))
        say(process, request("tools/call", READ, "b"))
        for _ in range(2):
            notes_service.arrived.get(timeout=60)
        process.stdin.close()  # type: ignore[union-attr]
    said = process.stdout.read()  # type: ignore[union-attr]

    assert sorted(json.loads(line)["id"] for line in said.splitlines()) == ["a", "b"]
    assert process.wait(60) == 0
    assert process.stderr.read() == b""  # type: ignore[union-attr]


def test_a_relay_that_is_killed_cuts_its_calls(broker: ServedBroker, relay: Relay, notes_service: NotesService) -> None:
    """Issue 2, MCP: cancelling a call cuts the upstream request and is recorded as what it is."""
    process = relay()
    with notes_service.holding():
        say(process, request("tools/call", WRITE))
        notes_service.arrived.get(timeout=60)
        process.kill()

        assert notes_service.left.wait(60)

    assert until(lambda: broker.last_status() == "outcome_unknown")


@pytest.mark.parametrize("half", [b"", b'{"jsonrpc":"2.0","id":1,"resu'])
def test_what_a_daemon_that_goes_leaves_unanswered_is_answered_by_the_relay(
    relay: Relay, tmp_path: Path, half: bytes
) -> None:
    """A client would wait for ever; it is told that the outcome is not known, and half an answer is none."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        process = relay(agents_socket=path)
        say(process, request("tools/call", WRITE, "left open"))
        connection, _ = listener.accept()
        connection.recv(100_000)
        connection.sendall(half)
        connection.close()

    answer = json.loads(process.stdout.readline())  # type: ignore[union-attr]
    assert (answer["id"], answer["error"]["data"]["code"]) == ("left open", "daemon_unreachable")
    process.stdin.close()  # type: ignore[union-attr]
    assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("era", ERAS)
def test_a_client_goes_on_after_the_broker_has_restarted(written: Written, era: Era) -> None:
    """Issue 2, client-config: what works today works tomorrow too; a session of an older revision is begun again."""
    with BrokerProcess(written) as broker:
        broker.connect_notes()

        async def case() -> list[bool]:
            async with connected(broker, "stdio", era) as client:
                before = await client.call_tool(READ["name"], READ["arguments"])
                await anyio.to_thread.run_sync(broker.kill)
                down = await asked(client)
                await anyio.to_thread.run_sync(broker.start)
                after = await client.call_tool(READ["name"], READ["arguments"])
                return [before.is_error, down, after.is_error]

        assert anyio.run(case) == [False, "daemon_unreachable", False]


async def asked(client: Client) -> Any:
    """Ask while nobody answers, and return the code."""
    with pytest.raises(MCPError) as refused:
        await client.call_tool(READ["name"], READ["arguments"])
    return refused.value.error.data["code"]


def test_what_is_no_message_is_said_to_be_none(relay: Relay) -> None:
    """A line cannot bring a proof of its own past the relay's; lessons.md 7."""
    process = relay()
    process.stdin.write(b'{}},"proof":{"agent":"other"},"message":{"jsonrpc":"2.0"\n')  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]

    assert json.loads(process.stdout.readline())["error"]["code"] == -32700  # type: ignore[union-attr]
    assert "result" in ask(process, "tools/list")


def test_a_token_file_is_read_again_for_each_message(broker: ServedBroker, relay: Relay, tmp_path: Path) -> None:
    """architecture.md, Processes: a token file re-read each time; a helper renews it."""
    token = tmp_path / "token"
    process = relay("--token-file", str(token))

    missing = ask(process, "tools/call", READ)
    token.write_text(broker.token(OTHER, seconds=-5) + "\n")
    expired = ask(process, "tools/call", READ)
    token.write_text(broker.token(OTHER) + "\n")
    good = ask(process, "tools/call", READ)
    token.write_text(broker.token(OTHER, jti="another"))
    renewed = ask(process, "tools/call", READ)

    assert [answer["error"]["data"]["code"] for answer in (missing, expired)] == ["proof_missing", "proof_expired"]
    calls = [broker.story(answer["result"]["_meta"][CALL_ID])["requested"]["identity"] for answer in (good, renewed)]
    assert [identity["spiffe_id"] for identity in calls] == [OTHER, OTHER]
    assert calls[0]["proof"] != calls[1]["proof"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "proof_malformed"),
        (b"\xff\xfe", "proof_missing"),
        (b"x" * 100_000, "proof_malformed"),
        (b"a\nb\nc", "proof_malformed"),
    ],
)
def test_a_token_file_with_anything_else_in_it_proves_nothing(
    relay: Relay, tmp_path: Path, content: bytes, code: str
) -> None:
    """A failed read is no proof, and never the process itself as one; lessons.md 1."""
    token = tmp_path / "token"
    token.write_bytes(content)

    answer = ask(relay("--token-file", str(token)), "tools/list")

    assert answer["error"]["data"]["code"] == code


def test_a_process_can_say_which_agent_it_is(relay: Relay) -> None:
    """architecture.md, Processes: the socket peer itself, where several agents share one user."""
    assert "result" in ask(relay("--agent", "analyst"), "tools/list")
    assert ask(relay("--agent", "other"), "tools/list")["error"]["data"]["code"] == "peer_unknown"


def test_a_relay_whose_answers_nobody_reads_ends(relay: Relay) -> None:
    """What cannot be passed on is no reason to stay."""
    process = relay()
    process.stdout.close()  # type: ignore[union-attr]

    say(process, request("tools/list"))

    assert process.wait(60) == 1
    assert b"Traceback" not in process.stderr.read()  # type: ignore[union-attr]


def test_blank_lines_are_nothing(relay: Relay) -> None:
    """Some clients end a message with two newlines."""
    process = relay()
    process.stdin.write(b"\n  \r\n\n")  # type: ignore[union-attr]

    assert "result" in ask(process, "tools/list")
