"""What a record says at a place, and texts and times as they may be shown."""

import datetime
import json
from typing import Any


def at(record: Any, *path: str) -> Any:
    """Return what stands at a path of a record; None if nothing does."""
    for name in path:
        if type(record) is not dict:
            return None
        record = record.get(name)
    return record


def text_at(record: Any, *path: str) -> str | None:
    """Return what stands at a path as text; None if nothing does."""
    value = at(record, *path)
    return value if value is None or type(value) is str else json.dumps(value)


def number_at(record: Any, *path: str) -> int | None:
    """Return the whole number at a path; None if there is none."""
    value = at(record, *path)
    return value if type(value) is int else None


def listed_at(record: Any, *path: str) -> list[Any]:
    """Return the list at a path; an empty one if there is none."""
    value = at(record, *path)
    return value if type(value) is list else []


def visible(value: Any) -> str:
    """Return a value as text in which every character is seen: no control, no change of direction, no line's end."""
    text = value if type(value) is str else "" if value is None else json.dumps(value, sort_keys=True)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def milliseconds(time: Any) -> int:
    """Return a record's time in milliseconds since the epoch; 0 for what is no time."""
    try:
        return round(datetime.datetime.fromisoformat(time).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return 0


def thousandths(number: int | None) -> str | None:
    """Return a thousandth of a number, as microseconds become milliseconds: no float, nothing rounded."""
    return None if number is None or number < 0 else f"{number // 1000}.{number % 1000:03}"
