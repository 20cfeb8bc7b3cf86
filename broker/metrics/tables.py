"""What is counted on the way of calls: by labels, without a lock, in a fraction of the time that the library takes.

Labels are names of documents and the broker's own words, so there are few; documents that change for months make more.
What is over the cap is counted together, under `other`: neither the broker nor whoever scrapes it can drown.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

MOST = 10_000
"""Sets of labels of one metric."""
OTHER = "other"
CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""From a database's answer to a long one of a model."""
OWN_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Of what should be milliseconds."""

Labels = tuple[str, ...]
T = TypeVar("T")


class Table(Generic[T]):
    """One thing for each set of labels. Changed on the event loop alone; read it from anywhere."""

    def __init__(self, make: Callable[[], T], most: int = MOST) -> None:
        self._make = make
        self._most = most
        self._rows: dict[Labels, T] = {}

    def of(self, labels: Labels) -> T:
        """Return what is kept for these labels."""
        found = self._rows.get(labels)
        return self._made(labels) if found is None else found

    def rows(self) -> list[tuple[Labels, T]]:
        """Return everything as it is now."""
        return list(self._rows.items())

    def _made(self, labels: Labels) -> T:
        if len(self._rows) >= self._most:
            labels = (OTHER,) * len(labels)
            if labels in self._rows:
                return self._rows[labels]
        made = self._rows[labels] = self._make()
        return made


class Count:
    """A number that grows."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class Times:
    """How often something took how long."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = CALL_SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one that took so many seconds; a bound is part of what is below it, as Prometheus has it."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


def counts(name: str, said: str, names: Sequence[str], table: Table[Count], unit: float = 1) -> CounterMetricFamily:
    """Return a table's numbers as a metric, each of them so many units."""
    family = CounterMetricFamily(name, said, labels=names)
    for labels, count in table.rows():
        family.add_metric(labels, count.number * unit)
    return family


def times(name: str, said: str, names: Sequence[str], table: Table[Times]) -> HistogramMetricFamily:
    """Return a table's times as a metric."""
    family = HistogramMetricFamily(name, said, labels=names)
    for labels, one in table.rows():
        family.add_metric(labels, _cumulated(one), one.total)
    return family


def _cumulated(one: Times) -> list[tuple[str, float]]:
    so_far, found = 0, []
    for bound, count in zip((*map(str, one.bounds), "+Inf"), list(one.counts), strict=True):
        so_far += count
        found.append((bound, float(so_far)))
    return found
