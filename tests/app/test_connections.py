from typing import Any

import pytest
from starlette.applications import Starlette
from uvicorn.protocols.http.flow_control import FlowControl

from broker.app.http import BoundedProtocol, HttpServer


class Clock:
    """A loop and a transport: the test says what time it is, and how much waits for the client."""

    def __init__(self) -> None:
        self.now = 0.0
        self.unsent = 0

    def time(self) -> float:
        """Return the time."""
        return self.now

    def get_write_buffer_size(self) -> int:
        """Return what waits."""
        return self.unsent


@pytest.fixture
def clock() -> Clock:
    """Begin at nought."""
    return Clock()


@pytest.fixture
def connection(clock: Clock) -> BoundedProtocol:
    """Return a connection over that transport."""
    server = HttpServer(Starlette())
    server.config.load()
    fake: Any = clock
    connection = BoundedProtocol(server.config, server.server_state, {}, fake)
    connection.transport, connection.flow = fake, FlowControl(fake)
    return connection


def told(connection: BoundedProtocol, clock: Clock, unsent: list[int]) -> list[bool]:
    """Return what is told each second, while so much waits."""
    found = []
    for clock.unsent in unsent:
        clock.now += 1
        found.append(connection.is_unread())
    return found


def test_what_nobody_takes_for_ten_seconds_is_unread(connection: BoundedProtocol, clock: Clock) -> None:
    """A client that never reads has what it was sent held for ten seconds."""
    assert told(connection, clock, [0, *[500] * 13]) == [False] * 12 + [True] * 2


@pytest.mark.parametrize(
    "unsent",
    [[0] * 100, list(range(10_000, 1, -100)), [0, *[500] * 9] * 10, [500, 400, *[600] * 8] * 9],
    ids=["nothing waits", "it drains", "it is empty at times", "it shrinks at times"],
)
def test_a_client_that_takes_anything_reads(connection: BoundedProtocol, clock: Clock, unsent: list[int]) -> None:
    """A stream lives on while its client reads it, however slowly."""
    assert not any(told(connection, clock, unsent))


def test_what_is_filled_up_again_each_second_was_read(connection: BoundedProtocol, clock: Clock) -> None:
    """A busy stream looks as full each time."""
    for _ in range(10):
        assert not any(told(connection, clock, [70_000] * 9))
        connection.pause_writing()
        connection.resume_writing()
