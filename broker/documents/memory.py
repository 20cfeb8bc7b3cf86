"""What was read of files that have not changed: a reload of many documents reads the few that are new.

And how a set is loaded beside calls that go on: in short turns, so that nobody waits for it.
"""

import contextlib
import gc
import hashlib
import sys
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


@contextlib.contextmanager
def in_short_turns() -> Iterator[None]:
    """Let the event loop have the processor at once while a set is loaded in another thread."""
    turn, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(min(turn, _TURN))
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
        if gc.get_freeze_count():  # the process leaves what was built at its start alone (decision 0003); this is, too
            gc.collect(1)
            gc.freeze()
    finally:
        sys.setswitchinterval(turn)
        gc.set_threshold(*thresholds)
