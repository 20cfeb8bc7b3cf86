"""Counts and lists that stay small, whoever chooses what is counted."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

Key = tuple[str, ...]

_MOST_KEYS = 5_000  # that are counted one by one
_MOST_SHOWN = 200
_EACH_END = 150  # of a list


@dataclass(slots=True)
class Count:
    """How often, in which ways, and when first and last."""

    number: int = 0
    ways: dict[str, int] = field(default_factory=dict)
    first: str = ""
    last: str = ""

    def add(self, time: str, ways: tuple[str, ...] = (), number: int = 1) -> None:
        """Count something that happened at a time; `ways` are few, and ours to choose."""
        self.number += number
        for way in ways:
            self.ways[way] = self.ways.get(way, 0) + number
        self.first = min(self.first or time, time)
        self.last = max(self.last, time)


class Tally:
    """Counts by key. Keys after the first few thousand share one count, so that their sum is still right."""

    def __init__(self) -> None:
        self.others = Count()
        self._counts: dict[Key, Count] = {}

    def add(self, key: Key, time: str, *ways: str, number: int = 1) -> None:
        """Count something."""
        count = self._counts.get(key)
        if count is None:
            count = self.others
            if len(self._counts) < _MOST_KEYS:
                count = self._counts[key] = Count()
        count.add(time, ways, number)

    def shown(self) -> Iterator[tuple[Key, Count]]:
        """Yield what is counted most often, most often first; the order of equals is that of their keys."""
        yield from self._ordered()[:_MOST_SHOWN]

    def rest(self) -> Count:
        """Return the count of everything that `shown` leaves out."""
        rest = Count(self.others.number, dict(self.others.ways), self.others.first, self.others.last)
        for _, count in self._ordered()[_MOST_SHOWN:]:
            rest.number += count.number
            for way, number in count.ways.items():
                rest.ways[way] = rest.ways.get(way, 0) + number
            rest.first, rest.last = min(rest.first or count.first, count.first), max(rest.last, count.last)
        return rest

    def total(self) -> int:
        """Return how often anything was counted."""
        return self.others.number + sum(count.number for count in self._counts.values())

    def _ordered(self) -> list[tuple[Key, Count]]:
        return sorted(self._counts.items(), key=lambda item: (-item[1].number, item[0]))


class Listing:
    """Rows in their order: the first ones and the last ones, and how many lie between."""

    def __init__(self) -> None:
        self.number = 0
        self._first: list[Key] = []
        self._last: deque[Key] = deque(maxlen=_EACH_END)

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.number += 1
        if len(self._first) < _EACH_END:
            self._first.append(cells)
        else:
            self._last.append(cells)

    @property
    def omitted(self) -> int:
        """How many rows are not kept."""
        return self.number - len(self._first) - len(self._last)

    def rows(self) -> Iterator[Key | None]:
        """Yield the rows; None where some are left out."""
        yield from self._first
        if self.omitted:
            yield None
        yield from self._last
