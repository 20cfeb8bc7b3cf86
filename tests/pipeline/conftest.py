"""The parts of a broker without its doors, in the event loop of the test."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from tests.support.broker import Line, open_line
from tests.support.documents import Written
from tests.support.notes import Notes

Case = Callable[[Line], Awaitable[None]]
InLine = Callable[[Case], None]


@pytest.fixture
def notes() -> Notes:
    """Lend the connector, whose tool `misbehave` does what the test says."""
    return Notes()


@pytest.fixture
def in_line(written: Written, notes: Notes) -> InLine:
    """Run a coroutine function with the parts of a broker."""

    def run(case: Case) -> None:
        async def main() -> None:
            async with open_line(written, notes) as line:
                await case(line)

        anyio.run(main, backend_options={"use_uvloop": True})

    return run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store give up on a lock at once."""
    monkeypatch.setattr("broker.store._BUSY_SECONDS", 0.05)
