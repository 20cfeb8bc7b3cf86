import threading
from collections.abc import Iterator

import pytest

from broker.errors import AuditUnavailable
from broker.metrics.reading import Reading


class Slow:
    """What is read: it comes when it is let come, and fails when it is told to."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.fails = False
        self.times = 0

    def read(self) -> int:
        """Return how often it was read."""
        self.free.wait(60)
        self.times += 1
        if self.fails:
            raise AuditUnavailable
        return self.times


@pytest.fixture
def slow() -> Iterator[Slow]:
    """Lend one, and let go what still waits."""
    slow = Slow()
    yield slow
    slow.free.set()


@pytest.mark.anyio
async def test_what_was_read_last_serves_on_while_the_disk_hangs(slow: Slow) -> None:
    """Issue 7, metrics: a scrape while the store is stuck answers with what is known, and piles nothing up."""
    reading = Reading(slow.read, 0, patience=0.01, fresh=0)
    reading._patience = 20
    assert await reading.latest() == 1
    reading._patience = 0.01

    slow.free.clear()
    stuck = [await reading.latest() for _ in range(5)]
    under_way = reading._under_way
    assert under_way is not None
    slow.free.set()
    await under_way

    assert stuck == [1, 1, 1, 1, 1]
    assert slow.times == 2
    reading.close()


@pytest.mark.anyio
async def test_a_store_that_fails_leaves_what_it_said_before(slow: Slow) -> None:
    """The store's own metrics say that it fails; `aam_store_read_timestamp_seconds` how old the others are."""
    reading = Reading(slow.read, 0, patience=20, fresh=0)
    await reading.latest()
    at, slow.fails = reading.at, True

    assert await reading.latest() == 1
    assert (reading.at, slow.times) == (at, 2)
    reading.close()


@pytest.mark.anyio
async def test_those_who_ask_at_once_share_one_reading(slow: Slow) -> None:
    """However many scrape, the disk is asked once a second."""
    reading = Reading(slow.read, 0, patience=20, fresh=3600)

    assert [await reading.latest() for _ in range(5)] == [1] * 5
    assert slow.times == 1
    reading.close()
