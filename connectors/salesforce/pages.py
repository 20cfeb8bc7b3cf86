"""Results that fit an agent: pages with a cursor, cut at a budget, with the total where it is known.

A search without an order of its own is in the order of ids, and its cursor is the last id: it goes on for ever, and
what is added or deleted meanwhile moves nothing. A search with an order goes on by OFFSET, which the service ends at
2,000.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.connector import ToolCall, errors

MOST_RECORDS = 2000
GREATEST_OFFSET = 2000  # SOQL and SOSL Reference, OFFSET
DEFAULT_RECORDS = 50
_OVERHEAD = 2000  # bytes of a result beside its records: a cursor, a total


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the results of a query a page begins."""

    offset: int = 0
    after: str | None = None
    seen: int = 0
    """How many records the pages before had."""

    @classmethod
    def of(cls, call: ToolCall, query: str) -> "Place":
        """Return where the call's cursor leads, or the beginning; raise `CursorInvalid`."""
        cursor = call.arguments.get("cursor")
        if cursor is None:
            return cls(offset=int(call.arguments.get("offset", 0)))
        offset, after, seen = call.cursors.open(query, cursor)
        return cls(offset, after, seen)

    def next(self, call: ToolCall, query: str, kept: int, last_id: str, *, by_id: bool) -> str | None:
        """Return the cursor of the next page; None where the service goes no further."""
        if by_id:
            return call.cursors.seal(query, [0, last_id, self.seen + kept])
        offset = self.offset + kept
        return None if offset > GREATEST_OFFSET else call.cursors.seal(query, [offset, None, self.seen + kept])


def limit_of(arguments: Mapping[str, Any]) -> int:
    """Return how many records are asked for."""
    return int(arguments.get("limit", DEFAULT_RECORDS))  # JSON Schema takes 10.0 for an integer too


def fitting(records: list[dict[str, Any]], most_bytes: int | None) -> int:
    """Return how many of the records fit a result; one at least, which is refused later if even it does not."""
    if most_bytes is None:
        return len(records)
    left = most_bytes - _OVERHEAD
    for number, record in enumerate(records):
        left -= len(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")) + 1
        if left < 0:
            return max(number, 1)
    return len(records)


def page_of(
    records: list[dict[str, Any]],
    *,
    more: bool,
    cursor: str | None,
    total: int | None,
) -> dict[str, Any]:
    """Return a page as every list answers it."""
    page: dict[str, Any] = {"records": records, "more": more}
    if cursor:
        page["cursor"] = cursor
    if total is not None:
        page["total"] = total
    return page


def check_offset(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments about paging that do not fit together."""
    if "cursor" in arguments and "offset" in arguments:
        raise errors.InvalidArguments("A cursor says where to go on; leave 'offset' out.")
