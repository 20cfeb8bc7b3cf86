import hashlib
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from broker.identity import Peer, socket_peer
from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import CALL_ID, Lines, request
from tests.support.documents import ANALYST, BARRED, OTHER, agents_document
from tests.support.notes import NotesService
from tests.support.users import said_to_nobody

READ = {"name": "notes_notes_read", "arguments": {"id": "n1"}}
WRITE = {"name": "notes_notes_write", "arguments": {"id": "by socket"}}


@pytest.fixture
def lines(broker: ServedBroker) -> Iterator[Lines]:
    """Connect to the shared broker's socket."""
    with Lines(broker.agents_socket) as lines:
        yield lines


def code_of(answer: dict[str, Any]) -> str:
    """Return the code of a refusal that is a protocol error."""
    return str(answer["error"]["data"]["code"])


def test_the_process_at_the_other_end_is_a_proof(broker: ServedBroker, lines: Lines) -> None:
    """Issue 2, Identity: the socket peer, its lower assurance recorded."""
    answer = lines.ask("tools/call", READ)

    identity = broker.story(answer["result"]["_meta"][CALL_ID])["requested"]["identity"]
    assert (identity["spiffe_id"], identity["method"], identity["assurance"]) == (ANALYST, "unix-peer", "peer")
    assert identity["proof"] == f"uid:{os.getuid()},pid:{os.getpid()}"


def test_a_token_is_a_better_proof(broker: ServedBroker, lines: Lines) -> None:
    """architecture.md, Processes: proof is a token, or the socket peer itself."""
    answer = lines.ask("tools/call", READ, {"token": broker.token(OTHER)})

    requested = broker.story(answer["result"]["_meta"][CALL_ID])["requested"]
    assert (requested["identity"]["spiffe_id"], requested["identity"]["method"]) == (OTHER, "jwt-svid")
    assert requested["origin"]["transport"] == "stdio"


def test_a_token_that_fails_is_not_replaced_by_the_peer(broker: ServedBroker, lines: Lines) -> None:
    """lessons.md 1: a failed check never becomes a weaker identity."""
    for token in ("", "x", broker.token(seconds=-5), broker.token() + "x"):
        answer = lines.ask("tools/list", proof={"token": token})

        assert answer["error"]["code"] == -32001
        assert code_of(answer).startswith("proof_")


@pytest.mark.parametrize(("code", "workload"), BARRED.items())
def test_an_agent_that_may_not_call_is_told_so(broker: ServedBroker, lines: Lines, code: str, workload: str) -> None:
    """architecture.md, names and answers: a JSON-RPC error with the same code as over HTTP."""
    assert code_of(lines.ask("tools/list", proof={"token": broker.token(workload)})) == code


def test_a_process_may_say_which_agent_it_is_and_is_not_believed_without_reason(lines: Lines) -> None:
    """The wish only chooses among the agents whose selectors match; it proves nothing."""
    chosen = lines.ask("tools/list", proof={"agent": "analyst"})
    refused = lines.ask("tools/list", proof={"agent": "other"})

    assert "result" in chosen
    assert code_of(refused) == "peer_unknown"


def test_a_connection_belongs_to_its_first_identity(broker: ServedBroker, lines: Lines) -> None:
    """Issue 2, MCP: streams are bound to issuer and subject; the attempt is on record, and the owner goes on."""
    lines.ask("tools/list", proof={"token": broker.token()})

    foreign = lines.ask("tools/call", WRITE, {"token": broker.token(OTHER)})
    own = lines.ask("tools/list", proof={"token": broker.token()})

    assert code_of(foreign) == "session_of_another"
    assert "result" in own
    assert any(
        record["outcome"]["code"] == "session_of_another" for record in broker.records(kind="authentication_refused")
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\x00\xff\xfe\x80",
        b"{",
        b"[]",
        b"null",
        b'{"proof":null}',
        b'{"message":{"jsonrpc":"2.0","id":1,"method":"tools/list"}}',
        b'{"proof":null,"message":3}',
        b'{"proof":null,"message":{"jsonrpc":"1.0","id":1,"method":"tools/list"}}',
        b'{"proof":null,"message":{"jsonrpc":"2.0","id":{},"method":"tools/list"}}',
        b'{"proof":null,"message":[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]}',
        b'{"proof":7,"message":{"jsonrpc":"2.0","id":1,"method":"tools/list"}}',
        b'{"proof":{"token":7},"message":{"jsonrpc":"2.0","id":1,"method":"tools/list"}}',
        b'{"proof":{"token":"x","agent":"analyst"},"message":{"jsonrpc":"2.0","id":1,"method":"tools/list"}}',
        b'{"proof":{"token":"x"},"message":{"jsonrpc":"2.0","id":1,"method":"tools/list"},"proof":null}',
        b'{"proof":null,"message":{"jsonrpc":"2.0","id":1,"method":"tools/list"},"more":1}',
        b'{"proof":null,"message":{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}}',
        b'{"end":1}',
        b'{"end":true,"proof":null}',
        b'{"proof":null,"message":' + b"[" * 100_000,
        b'{"proof":null,"message":' + b"9" * 5_000 + b"}",
    ],
    ids=range(21),
)
def test_a_line_that_is_no_message_with_its_proof_is_refused_and_the_next_is_served(lines: Lines, line: bytes) -> None:
    """Hostile lines: binary, deep, with keys that stand twice, or with members that nobody reads."""
    lines.send(line + b"\n")
    refused = lines.next()
    served = lines.ask("tools/list")

    assert (refused["id"], refused["error"]["code"]) == (None, -32700)
    assert "result" in served


def test_a_line_without_an_end_is_cut_at_the_cap(broker: ServedBroker, lines: Lines) -> None:
    """Issue 2, MCP: bodies are capped with clear errors; what has no end has no next message either."""
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        lines.send(b"x" * (4 << 20))

    with Lines(broker.agents_socket) as others:
        assert "result" in others.ask("tools/list")


def test_a_line_over_the_cap_is_told_so_before_the_end(lines: Lines) -> None:
    """Issue 2, MCP: clear errors."""
    lines.send(b"x" * ((1 << 20) + (16 << 10)))

    (said,) = lines.rest()

    assert said["error"] == {"code": -32700, "message": "The message is too large."}


def test_half_a_line_is_nothing(broker: ServedBroker, notes_service: NotesService) -> None:
    """What is not ended by a newline was never asked."""
    before = len(notes_service.effects)
    with Lines(broker.agents_socket) as lines:
        lines.send(json.dumps({"proof": None, "message": request("tools/call", WRITE)}).encode())

    with Lines(broker.agents_socket) as others:
        others.ask("tools/list")
    assert len(notes_service.effects) == before


def test_an_id_is_answered_once(lines: Lines, notes_service: NotesService) -> None:
    """JSON-RPC 2.0 §4: an id stands for one request; a second one under it is refused while the first waits."""
    with notes_service.holding():
        lines.say(request("tools/call", READ, "same"))
        notes_service.arrived.get(timeout=60)
        lines.say(request("tools/call", READ, "same"))
        second = lines.next()
    first = lines.next()

    assert (second["id"], second["error"]["code"]) == ("same", -32600)
    assert (first["id"], "result" in first) == ("same", True)


def test_an_id_without_an_encoding_ends_nothing_but_itself(broker: ServedBroker) -> None:
    """An answer must be writable; whoever sends what cannot be answered gets none, and nobody else notices."""
    with Lines(broker.agents_socket) as lines:
        lines.send(b'{"proof":null,"message":{"jsonrpc":"2.0","id":"\\ud800","method":"tools/list"}}\n')
        lines.send(b'{"end":true}\n')
        list(lines.rest())

    with Lines(broker.agents_socket) as others:
        assert "result" in others.ask("tools/list")


def test_after_the_end_what_was_asked_is_still_answered(lines: Lines, notes_service: NotesService) -> None:
    """A client may close its stdin and still wait for what it asked, as in a shell's pipe."""
    with notes_service.holding():
        lines.say(request("tools/call", READ, "last"))
        notes_service.arrived.get(timeout=60)
        lines.send(b'{"end":true}\n')
    said = list(lines.rest())

    assert [answer["id"] for answer in said] == ["last"]
    assert "result" in said[0]


def test_a_relay_that_dies_cuts_what_it_had_asked(broker: ServedBroker, notes_service: NotesService) -> None:
    """Issue 2, MCP: cancelling cuts the upstream request and is recorded as what it is."""
    lines = Lines(broker.agents_socket)
    with notes_service.holding():
        lines.say(request("tools/call", WRITE, "cut"))
        notes_service.arrived.get(timeout=60)
        lines.close()

        assert notes_service.left.wait(60)

    assert until(lambda: broker.last_status() == "outcome_unknown")


def test_a_cancelled_request_is_cut_and_not_answered(
    broker: ServedBroker, lines: Lines, notes_service: NotesService
) -> None:
    """MCP: `notifications/cancelled` reaches the service; the connection goes on."""
    with notes_service.holding():
        lines.say(request("tools/call", WRITE, "cancelled"))
        notes_service.arrived.get(timeout=60)
        lines.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "cancelled"}})

        assert notes_service.left.wait(60)
        lines.send(b'{"end":true}\n')
        assert list(lines.rest()) == []

    assert until(lambda: broker.last_status() == "outcome_unknown")


def test_a_client_that_asks_without_reading_is_not_read_for_ever(broker: ServedBroker, lines: Lines) -> None:
    """What is not answered yet is bounded: a client that never reads fills its own socket, not the broker's memory."""
    asked = [{"proof": None, "message": request("tools/list", None, number)} for number in range(10_000)]
    lines._socket.settimeout(0.5)

    with pytest.raises(TimeoutError):
        lines.send(b"".join(json.dumps(line).encode() + b"\n" for line in asked))

    with Lines(broker.agents_socket) as others:
        assert "result" in others.ask("tools/list")


def test_one_users_connections_are_bounded_and_their_refusal_is_on_record(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 2, Identity: a stranger can neither fill the disk nor stop the broker."""
    monkeypatch.setattr("broker.doors.mcp.socket._MOST_OF_A_USER", 5)
    broker = serve()

    with ExitStack() as stack:
        held = [stack.enter_context(Lines(broker.agents_socket)) for _ in range(5)]
        for lines in held:
            lines.ask("tools/list")
        refused = [stack.enter_context(Lines(broker.agents_socket)).next() for _ in range(20)]

        assert {code_of(answer) for answer in refused} == {"too_many_connections"}
        assert "result" in held[0].ask("tools/list")
        held[1].close()
        until(lambda: len(broker.parts.refused._repeats) and broker.await_(_connections, broker) == 4)
        assert "result" in stack.enter_context(Lines(broker.agents_socket)).ask("tools/list")

    (first,) = broker.records(kind="authentication_refused")
    assert (first["outcome"]["code"], first["outcome"]["count"]) == ("too_many_connections", 1)


async def _connections(broker: ServedBroker) -> int:
    return broker.doors._agents._users[os.getuid()]


def test_the_socket_is_open_to_everyone_and_the_proof_decides(broker: ServedBroker) -> None:
    """architecture.md, Processes: mode 0666."""
    assert stat.S_IMODE(Path(broker.agents_socket).stat().st_mode) == 0o666


def test_another_users_process_is_not_this_agent(broker: ServedBroker) -> None:
    """Issue 2, Identity: the kernel is the witness of who connects, and the selectors decide which agent that is."""
    line = json.dumps({"proof": {"agent": "analyst"}, "message": request("tools/list")}) + '\n{"end":true}\n'

    said = said_to_nobody(Path(broker.agents_socket), line)

    assert code_of(json.loads(said)) == "peer_unknown"


def idle(broker: ServedBroker) -> socket.socket:
    """Connect and say nothing."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(60)
    connection.connect(broker.agents_socket)
    return connection


def test_many_connections_that_say_nothing_stop_nobody(broker: ServedBroker) -> None:
    """More idle connections than a user may have: they make room for each other, and for whoever speaks."""
    with ExitStack() as stack:
        first, *_ = [stack.enter_context(idle(broker)) for _ in range(300)]

        with Lines(broker.agents_socket) as lines:
            assert "result" in lines.ask("tools/list")
        assert code_of(json.loads(first.recv(1000))) == "too_many_connections"


def test_room_is_made_by_whoever_says_nothing_most_often(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """One user's flood costs no other user a connection, not even an older one, and keeps nobody who speaks out."""
    users = iter([Peer(1, 1000, 1000)])
    monkeypatch.setattr(
        "broker.doors.mcp.socket.socket_peer", lambda connection: next(users, None) or socket_peer(connection)
    )
    monkeypatch.setattr("broker.doors.mcp.socket._MOST_CONNECTIONS", 5)
    broker = serve()
    with Lines(broker.agents_socket) as others, ExitStack() as stack:
        until(lambda: broker.doors._agents._users[1000] == 1)
        flood = [stack.enter_context(idle(broker)) for _ in range(10)]
        assert code_of(json.loads(flood[5].recv(1000))) == "too_many_connections"

        assert "result" in stack.enter_context(Lines(broker.agents_socket)).ask("tools/list")
        assert code_of(others.ask("tools/list")) == "peer_unknown"


def test_a_connection_that_belongs_to_nobody_is_closed_in_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence, half a line and refused proofs hold no place; an agent's connection may be silent for ever."""
    monkeypatch.setattr("broker.doors.mcp.socket._UNOWNED_SECONDS", 1.5)
    broker = serve()
    with Lines(broker.agents_socket) as owned, ExitStack() as stack:
        owned.ask("tools/list")
        silent, half, refused = (stack.enter_context(Lines(broker.agents_socket)) for _ in range(3))
        half.send(b'{"proof":' + b"x" * 500_000)
        assert code_of(refused.ask("tools/list", proof={"token": "x"})) == "proof_malformed"

        assert [list(lines.rest()) for lines in (silent, half, refused)] == [[], [], []]
        assert "result" in owned.ask("tools/list")


def test_few_may_hold_much_of_a_line_without_a_proof(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's half lines cannot fill the memory; an agent's first message may still be a large one."""
    monkeypatch.setattr("broker.doors.mcp.socket._MOST_LONG_LINES", 1)
    broker = serve()
    large = json.dumps({"proof": None, "message": request("tools/list"), "padding": ""})
    large = large.replace(', "padding": ""', " " * 900_000)
    with Lines(broker.agents_socket) as one, Lines(broker.agents_socket) as other:
        one.send(large.encode())
        until(lambda: broker.doors._agents._long_lines.value == 0)
        other._socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.send(large.encode())
        one.send(b"\n")

        assert "result" in one.next()
        until(lambda: broker.doors._agents._long_lines.value == 0)


def test_an_executable_is_read_only_if_an_agent_is_known_by_it(serve: Serve) -> None:
    """Whoever connects decides how large its executable is, so it is read for those only who asked for that."""
    broker = serve()
    with Lines(broker.agents_socket) as lines, patch("broker.identity.peer._digest") as read:
        assert "result" in lines.ask("tools/list")
        assert read.call_count == 0

    with Path(sys.executable).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    by_uid = f"unix:uid:{os.getuid()}"
    broker.written.put("agents.yaml", agents_document().replace(by_uid, f"unix:sha256:{digest}"))
    until(broker.parts.entrance.wants_digests)

    with Lines(broker.agents_socket) as lines:
        assert "result" in lines.ask("tools/list")
