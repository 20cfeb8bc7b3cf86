"""The limits of rules: calls in each calendar minute, hour or day, counted on disk; calls at once, counted in memory.

A call is counted in the commit that begins it: exactly once, or not at all. A restart ends all calls, so those at once
need no disk.
"""

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from broker.errors import LimitReached
from broker.policy import Limit
from broker.store import Store, Transaction

_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}


class CallLimits:
    """Counts the calls that rules with limits permit. Use it from one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def running(self, workload: str, limits: Sequence[Limit]) -> Iterator[None]:
        """Hold a place under each limit of calls at once; raise `LimitReached` if one has none."""
        capped = [limit for limit in limits if limit.per == "concurrent"]
        for limit in capped:
            if self._running[workload, limit.key] >= limit.calls:
                raise LimitReached(f"Policy {limit.rule.policy} permits {limit.calls} of these calls at once.")
        keys = {(workload, limit.key) for limit in capped}
        self._running.update(keys)
        try:
            yield
        finally:
            self._running.subtract(keys)
            for key in keys:
                if not self._running[key]:
                    del self._running[key]

    def count(self, transaction: Transaction, workload: str, limits: Sequence[Limit], now: datetime.datetime) -> None:
        """Count a call that is about to begin; raise `LimitReached` if it is one too many, and count nothing then.

        Durable with the transaction.
        """
        for per, length in _SECONDS.items():
            mine = [limit for limit in limits if limit.per == per]
            for key in sorted({limit.key for limit in mine}):
                start = int(now.timestamp()) // length * length
                counted = self._store.limits.count(transaction, (workload, key, per), start, length)
                _check([limit for limit in mine if limit.key == key], counted, start + length)


def _check(limits: Sequence[Limit], counted: int, ends: int) -> None:
    for limit in limits:
        if counted > limit.calls:
            then = datetime.datetime.fromtimestamp(ends, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            raise LimitReached(
                f"Policy {limit.rule.policy} permits {limit.calls} of these calls a {limit.per}; "
                f"the next one is permitted at {then}."
            )
