"""The records that an export is without: left out by a filter, or pruned, as another record has to say."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from broker.audit.statement import Gap

Range = tuple[int, int]


class Absent:
    """Notes the gaps of an export, and the pruning that its records tell of."""

    def __init__(self) -> None:
        self._filtered = 0
        self._pruned: list[Range] = []
        self._said: list[Range] = []

    def note(self, gap: Gap) -> None:
        """Take note of a gap; they come in order."""
        if gap.why == "filtered":
            self._filtered += gap.stop - gap.start
        elif self._pruned and self._pruned[-1][1] == gap.start:
            self._pruned[-1] = (self._pruned[-1][0], gap.stop)
        else:
            self._pruned.append((gap.start, gap.stop))

    def explain(self, index: int, record: dict[str, Any]) -> None:
        """Take note of a record that tells which records before it were pruned."""
        if record.get("kind") == "trail_pruned" and isinstance(record.get("ranges"), list):
            self._said += [(one[0], one[1]) for one in record["ranges"] if _is_range(one, index)]

    def unexplained(self) -> int | None:
        """Return the first record that is said to be pruned and that no record says was."""
        said = deque(_merged(self._said))
        for start, stop in self._pruned:
            while said and said[0][1] <= start:
                said.popleft()
            if not said or not said[0][0] <= start < said[0][1]:
                return start
            if said[0][1] < stop:
                return said[0][1]
        return None

    def sentences(self, wanted: str) -> Iterator[str]:
        """Say what is not proved of them; `wanted` is the filter, in words, or empty."""
        pruned = sum(stop - start for start, stop in self._pruned)
        if pruned and self.unexplained() is None:
            yield f"What {pruned} pruned records said; their hashes are in the tree, and the pruning is on record."
        elif pruned:
            yield f"What {pruned} records said that are said to be pruned; the export does not hold the record of that."
        if wanted or self._filtered:
            yield (
                f"What {self._filtered} other records say, and that the filter ({wanted}) left out none that it should "
                "have kept."
            )


def _is_range(value: Any, before: int) -> bool:
    if not isinstance(value, list) or [type(one) for one in value] != [int, int]:
        return False
    start, stop = value
    return bool(0 <= start < stop <= before)


def _merged(ranges: list[Range]) -> list[Range]:
    merged: list[Range] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged
