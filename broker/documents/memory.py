"""What was read of files that have not changed: a reload of many documents reads the few that are new.

And how a set is loaded beside calls that go on: in short turns, so that nobody waits for it.
"""

import contextlib
import gc
import hashlib
import sys
import threading
from collections.abc import Iterator

from broker.documents.parse import Document, parse
from broker.documents.source import Problem, Source, read_sources

Read = tuple[Source | Problem, Document | list[Problem] | None]
"""What stood in a file, in order, and what came of it; None for a problem."""

_TURN = 0.0005  # seconds that a thread may go on while another waits: Python's 5 ms, many times in a call, are too many
_THRESHOLDS = (20_000, 4, 1_000)  # of the garbage collector: it stops everything while it walks what is new


class Memory:
    """Remembers what was read of each file of the last set, by its name and content."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, bytes], tuple[Read, ...]] = {}
        self._now: dict[tuple[str, bytes], tuple[Read, ...]] = {}

    def __len__(self) -> int:
        return len(self._last) + len(self._now)

    def begin(self) -> None:
        """Begin a set: what is not asked for until the next one is forgotten then."""
        self._last, self._now = self._now, {}

    def read(self, name: str, text: bytes) -> tuple[Read, ...]:
        """Return what stands in a file."""
        key = name, hashlib.sha256(text).digest()
        found = self._last.get(key)
        if found is None:
            sources = read_sources(text, name)
            found = tuple((one, parse(one) if isinstance(one, Source) else None) for one in sources)
        self._now[key] = found
        return found

    def forget(self) -> None:
        """Let go of what the last set does not hold any more, bit by bit: freeing all of it at once takes its time."""
        while self._last:
            self._last.popitem()


class _Turns:
    """How long turns are while any set is loaded, and what they were before the first: loads may overlap."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads = 0
        self._before: tuple[float, tuple[int, int, int]] = sys.getswitchinterval(), gc.get_threshold()

    def shorten(self) -> None:
        """Begin a load."""
        with self._lock:
            if not self._loads:
                self._before = sys.getswitchinterval(), gc.get_threshold()
                sys.setswitchinterval(min(self._before[0], _TURN))
                gc.set_threshold(*_THRESHOLDS)
            self._loads += 1

    def restore(self) -> None:
        """End a load."""
        with self._lock:
            self._loads -= 1
            if not self._loads:
                sys.setswitchinterval(self._before[0])
                gc.set_threshold(*self._before[1])


_TURNS = _Turns()


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Let the event loop have the processor at once while another thread is at work."""
    _TURNS.shorten()
    try:
        yield
    finally:
        _TURNS.restore()


@contextlib.contextmanager
def in_short_turns() -> Iterator[None]:
    """Do so while a set is loaded, which stays for long."""
    with short_turns():
        yield
        if gc.get_freeze_count():  # the process leaves what was built at its start alone (decision 0003); this is, too
            gc.collect(1)
            gc.freeze()
