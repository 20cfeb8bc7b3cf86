"""Values as agents get them: plain JSON, exact numbers as texts, moments in ISO 8601."""

import datetime
import decimal
import json
import math
from collections.abc import Sequence
from typing import Any

from broker.connector import errors

MOST_RECORDS = 1000
DEFAULT_RECORDS = 50
_OVERHEAD = 500  # bytes of a result beside its records


def plain(value: Any) -> Any:
    """Return a value of the database as JSON has words for it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_inner)
    if isinstance(value, bytes | memoryview):
        raise errors.UpstreamMalformed("A value is neither text nor number; leave its column out.", detail="bytes")
    return str(value)


def _inner(value: Any) -> Any:
    return str(plain(value))


def fitting(records: Sequence[dict[str, Any]], most_bytes: int | None) -> int:
    """Return how many of the records fit a result; one at least, which is refused later if even it does not."""
    left = math.inf if most_bytes is None else most_bytes - _OVERHEAD
    for number, record in enumerate(records):
        left -= len(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")) + 1
        if left < 0:
            return max(number, 1)
    return len(records)
