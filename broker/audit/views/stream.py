"""The lines of an export behind its statement: records, and gaps where some are not in it.

{"id":"0197…","kind":"started",…,"prev_hash":"000…","seq":0,"v":1}
{"gap":{"start":1,"stop":40,"why":"filtered"}}
{"id":"0197…","kind":"requested",…,"prev_hash":"5b1c…","seq":40,"v":1}
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from broker.audit.record import Record
from broker.audit.views.values import number_at, text_at

MISSING = "missing"
"""Why records are not there, where nobody says so."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Records start to stop - 1 are not there: `filtered`, `pruned`, or `missing` where nobody says why."""

    start: int
    stop: int
    why: str


def read_stream(lines: Iterable[bytes]) -> Iterator[Record | Gap]:
    """Yield records and gaps in the order of the log; a jump that no line explains is a gap, too.

    Raises `ValueError` for a line that is neither, or out of order.
    """
    place = 0
    for line in lines:
        value = _parse(line, place)
        said = _gap(value)
        start = said.start if said is not None else number_at(value, "seq")
        if start is None or start < place:
            raise ValueError(f"after record {place - 1} comes neither a later record nor a gap")
        if start > place:
            yield Gap(place, start, MISSING)
        if said is not None:
            yield said
            place = said.stop
        else:
            yield value
            place = start + 1


def without_gaps(stream: Iterable[Record | Gap]) -> Iterator[Record]:
    """Yield only the records."""
    return (one for one in stream if type(one) is not Gap)  # type: ignore[misc] # mypy does not narrow by type()


def _parse(line: bytes, place: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if type(value) is not dict:
        raise ValueError(f"what should be record {place} is no JSON object")
    return value


def _gap(value: dict[str, Any]) -> Gap | None:
    if value.keys() != {"gap"}:
        return None
    start, stop = number_at(value, "gap", "start"), number_at(value, "gap", "stop")
    if start is None or stop is None or not 0 <= start < stop:
        raise ValueError("a gap does not say which records are not there")
    return Gap(start, stop, text_at(value, "gap", "why") or MISSING)
