import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import Wire
from tests.support.documents import OTHER
from tests.support.notes import NotesService

SLOW = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


def connect(broker: ServedBroker) -> socket.socket:
    """Open a bare connection to the agents' HTTP listener."""
    where = urlsplit(broker.url)
    return socket.create_connection((where.hostname, where.port), timeout=5)


def test_one_agent_cannot_take_every_place(serve: Serve, notes_service: NotesService) -> None:
    """Issue 2, MCP: concurrent calls are capped with clear errors; an agent at its cap stops no other."""
    broker = serve(caps={"calls_at_once_per_agent": 2, "calls_at_once": 3})
    read = ("notes_notes_read", {"id": "n1"})
    with ThreadPoolExecutor(4) as pool:
        with notes_service.holding():
            running = [pool.submit(Wire(broker).call, *read) for _ in range(2)]
            for _ in range(2):
                notes_service.arrived.get(timeout=5)
            over_its_own = Wire(broker).call(*read)
            running.append(pool.submit(Wire(broker, broker.token(OTHER)).call, *read))
            notes_service.arrived.get(timeout=5)
            over_all = Wire(broker, broker.token(OTHER)).call(*read)
        answers = [call.result(10) for call in running]

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
    monkeypatch.setattr("broker.app.http._SLOWEST_HEAD", 0.2)
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
            notes_service.arrived.get(timeout=5)

            assert Wire(broker).call("notes_notes_purge", {"id": "n1"}).code == "access_denied"
            assert not slow.done()
        assert slow.result(10).code is None
