import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from broker.app.http import BoundedProtocol, HttpServer
from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import MODERN, Wire, request
from tests.support.documents import OTHER
from tests.support.notes import NotesService

SLOW = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


def connect(broker: ServedBroker) -> socket.socket:
    """Open a bare connection to the agents' HTTP listener."""
    where = urlsplit(broker.url)
    return socket.create_connection((where.hostname, where.port), timeout=60)


def test_one_agent_cannot_take_every_place(serve: Serve, notes_service: NotesService) -> None:
    """Issue 2, MCP: concurrent calls are capped with clear errors; an agent at its cap stops no other."""
    broker = serve(caps={"calls_at_once_per_agent": 2, "calls_at_once": 3})
    read = ("notes_notes_read", {"id": "n1"})
    with ThreadPoolExecutor(4) as pool:
        with notes_service.holding():
            running = [pool.submit(Wire(broker).call, *read) for _ in range(2)]
            for _ in range(2):
                notes_service.arrived.get(timeout=60)
            over_its_own = Wire(broker).call(*read)
            running.append(pool.submit(Wire(broker, broker.token(OTHER)).call, *read))
            notes_service.arrived.get(timeout=60)
            over_all = Wire(broker, broker.token(OTHER)).call(*read)
        answers = [call.result(60) for call in running]

    assert (over_its_own.code, over_all.code) == ("too_many_calls", "too_many_calls")
    assert [answer.code for answer in answers] == [None, None, None]
    assert Wire(broker).call(*read).code is None


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"id": "x" * 262_000}, None),
        ({"id": "x" * 262_144}, "arguments_too_large"),
        ({"id": "n1", "more": ["x"] * 100_000}, "arguments_too_large"),
    ],
)
def test_arguments_are_capped(wire: Wire, arguments: Any, code: str | None) -> None:
    """Issue 2, MCP: arguments are capped with clear errors, before anything looks into them."""
    answer = wire.call("notes_notes_write", arguments)

    assert answer.code == code


def test_a_result_is_capped(broker: ServedBroker, wire: Wire) -> None:
    """Issue 2, MCP: results are capped with clear errors; nothing of one that is too large leaves."""

    async def much(_call: Any, _session: Any) -> Any:
        return {"id": "SESAME", "text": "x" * (1 << 20)}

    broker.notes.behaves = much
    answer = wire.call("notes_notes_misbehave")

    assert answer.code == "result_too_large"
    assert b"SESAME" not in answer.raw
    assert broker.outcome(answer.call_id)["status"] == "withheld"


def test_a_request_whose_head_has_no_end_is_cut(broker: ServedBroker, wire: Wire) -> None:
    """A stranger cannot fill the memory: the parser would take headers for ever."""
    with connect(broker) as connection:
        connection.sendall(SLOW)
        with pytest.raises(ConnectionError):
            connection.sendall(b"x" * (64 << 20))

    assert wire.tools()


def test_many_headers_are_too_many(broker: ServedBroker) -> None:
    """It is the bytes that count, in however many headers they come."""
    with connect(broker) as connection:
        connection.sendall(SLOW + b"1\r\n")
        connection.sendall(b"".join(b"X-%d: %s\r\n" % (number, b"x" * 100) for number in range(1000)))

        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_head_that_comes_too_slowly_is_cut_and_one_that_does_not_is_not(
    broker: ServedBroker, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger cannot keep connections for nothing: silent ones, trickling ones and those that began well."""
    monkeypatch.setattr("broker.app.http._SLOWEST_HEAD", 0.5)
    with ExitStack() as stack:
        silent, begun, trickling = (stack.enter_context(connect(broker)) for _ in range(3))
        begun.sendall(f"GET /healthz HTTP/1.1\r\nHost: {urlsplit(broker.url).netloc}\r\n\r\nGET /he".encode())
        trickling.sendall(SLOW)
        over = threading.Event()
        trickle = threading.Thread(target=_trickle, args=(trickling, over))
        trickle.start()

        assert silent.recv(1) == b""
        assert begun.recv(12) == b"HTTP/1.1 200"
        until(over.is_set)
        trickle.join()

    assert wire.tools()


def _trickle(connection: socket.socket, over: threading.Event) -> None:
    try:
        while True:
            connection.sendall(b"x")
            over.wait(0.02)
    except OSError:
        over.set()


def test_a_held_answer_does_not_hold_up_the_next_caller(broker: ServedBroker, notes_service: NotesService) -> None:
    """A slow service is its callers' trouble, nobody else's."""
    with ThreadPoolExecutor(1) as pool:
        with notes_service.holding():
            slow = pool.submit(Wire(broker).call, "notes_notes_read", {"id": "slow"})
            notes_service.arrived.get(timeout=60)

            assert Wire(broker).call("notes_notes_purge", {"id": "n1"}).code == "access_denied"
            assert not slow.done()
        assert slow.result(60).code is None


def test_requests_sent_far_ahead_of_their_answers_end_the_connection(broker: ServedBroker, wire: Wire) -> None:
    """A stranger cannot have the broker hold thousands of requests; a few ahead are answered."""
    asked = f"GET /mcp HTTP/1.1\r\nHost: {urlsplit(broker.url).netloc}\r\n\r\n".encode()
    with connect(broker) as few, connect(broker) as many:
        few.sendall(asked * 5)
        many.sendall(asked * 500)

        until(lambda: few.recv(1 << 16, socket.MSG_PEEK).count(b"HTTP/1.1 401") == 5)
        answers = b"".join(iter(lambda: many.recv(1 << 16), b""))

    assert answers.count(b"HTTP/1.1 401") < 20
    assert wire.tools()


@pytest.mark.slow
def test_a_client_that_reads_no_answer_is_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a client that never reads is not kept for ever."""
    broker = serve()

    async def much(_call: Any, _session: Any) -> Any:
        return {"id": "n1", "text": "x" * 450_000}

    broker.notes.behaves = much
    with connect(broker) as connection:
        connection.sendall(_post(broker, "notes_notes_misbehave") * 8)
        connections = _server(broker).server_state.connections
        until(lambda: any(isinstance(one, BoundedProtocol) and one.flow.write_paused for one in list(connections)))
        monkeypatch.setattr("broker.app.http._SLOWEST_READER", 0.2)  # not sooner: it must be seen to wait

        until(lambda: not connections)

    assert Wire(broker).tools()


def test_a_stream_that_is_read_lives_on(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SSE stream has no end and may be silent for long; neither is a reason to cut it."""
    monkeypatch.setattr("broker.app.http._SLOWEST_READER", 0.0)
    broker = serve()
    head = f"Host: {urlsplit(broker.url).netloc}\r\nAuthorization: Bearer {broker.token()}"
    with connect(broker) as stream:
        stream.sendall(f"GET /sse HTTP/1.1\r\n{head}\r\n\r\n".encode())
        assert stream.recv(12) == b"HTTP/1.1 200"

        for _ in range(3):
            broker.await_(_server(broker).on_tick, 0)

        assert len(_server(broker).server_state.connections) == 1


def test_silent_connections_make_room_for_those_that_speak(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's idle connections cannot take every place of the listener."""
    monkeypatch.setattr("broker.app.http._MOST_CONNECTIONS", 5)
    broker = serve()
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(broker)) for _ in range(20)]

        assert Wire(broker).tools()

        assert not closed(silent[-1])
        assert [closed(one) for one in silent[:15]] == [True] * 15


def test_where_everyone_is_busy_the_newcomer_is_closed(
    serve: Serve, notes_service: NotesService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are bounded in all, and what is answered is not cut for a newcomer."""
    monkeypatch.setattr("broker.app.http._MOST_CONNECTIONS", 2)
    broker = serve()
    with ThreadPoolExecutor(2) as pool:
        with notes_service.holding():
            calls = [pool.submit(Wire(broker).call, "notes_notes_read", {"id": "n1"}) for _ in range(2)]
            for _ in calls:
                notes_service.arrived.get(timeout=60)
            with connect(broker) as one_more:
                assert until(lambda: closed(one_more))

        assert [call.result(60).code for call in calls] == [None, None]


def closed(connection: socket.socket) -> bool:
    """Tell whether the broker has closed a connection on which nothing was said."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _server(broker: ServedBroker) -> HttpServer:
    return broker.doors._servers[0][0]


def _post(broker: ServedBroker, tool: str) -> bytes:
    """Return a call as the bytes that are sent for it."""
    body = json.dumps(request("tools/call", {"name": tool, "arguments": {}})).encode()
    head = {
        "Host": urlsplit(broker.url).netloc,
        "Authorization": f"Bearer {broker.token()}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
        "Content-Length": str(len(body)),
    }
    lines = ["POST /mcp HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    return "\r\n".join(lines).encode() + body
