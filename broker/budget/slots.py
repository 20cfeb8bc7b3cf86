"""How many calls run at once, for each agent and in all."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from broker.errors import TooManyCalls


class CallSlots:
    """Counts running calls. Use it from one event loop."""

    def __init__(self, most: int, most_per_agent: int) -> None:
        self._most = most
        self._most_per_agent = most_per_agent
        self._running: Counter[str] = Counter()
        self._all = 0

    @property
    def running(self) -> int:
        """How many calls run now."""
        return self._all

    @contextmanager
    def hold(self, workload: str) -> Iterator[None]:
        """Hold a place for one call while it runs; raise `TooManyCalls` if there is none."""
        if self._running[workload] >= self._most_per_agent:
            raise TooManyCalls(f"This agent has {self._most_per_agent} calls running; wait for one to end.")
        if self._all >= self._most:
            raise TooManyCalls
        self._running[workload] += 1
        self._all += 1
        try:
            yield
        finally:
            self._all -= 1
            self._running[workload] -= 1
            if not self._running[workload]:
                del self._running[workload]
