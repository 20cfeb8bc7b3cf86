"""What a decision binds a result to, whatever the service answered: fields, records, masks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_LEGIBLE = 4  # characters that a masked text keeps, of at least twice as many
_MASK = "****"


@dataclass(frozen=True, slots=True)
class Bounds:
    """`fields` are all that may leave of a record, None where all may; a field of a field is `Owner.Email`.

    `records` is the most records that may leave. Of masked fields, the last characters leave; redacted ones do not.
    """

    fields: frozenset[str] | None = None
    records: int | None = None
    mask: frozenset[str] = frozenset()
    redact: frozenset[str] = frozenset()
    max_bytes: int | None = None

    @property
    def touch_records(self) -> bool:
        """Whether anything is to be done to the records of a result."""
        return self.fields is not None or self.records is not None or bool(self.mask or self.redact)


UNBOUNDED = Bounds()


def bounded(result: Any, place: str, bounds: Bounds) -> Any:
    """Return a result of plain JSON values with what the bounds leave of its records.

    `place` is the member that holds the record or the list of them; where it is empty, the result itself is.
    """
    if not bounds.touch_records:
        return result
    if not place:
        return _records(result, bounds)
    if not isinstance(result, Mapping) or place not in result:
        return result
    return {**result, place: _records(result[place], bounds)}


def _records(value: Any, bounds: Bounds) -> Any:
    if isinstance(value, list):
        return [_record(one, bounds) for one in value[: bounds.records]]
    return _record(value, bounds)


def _record(value: Any, bounds: Bounds) -> Any:
    if bounds.fields is not None:
        value = _kept(value, bounds.fields)
    for name in sorted(bounds.redact):
        value = _changed(value, name.split("."), lambda _old: _GONE)
    for name in sorted(bounds.mask):
        value = _changed(value, name.split("."), _masked)
    return value


def _kept(value: Any, fields: frozenset[str]) -> Any:
    """Keep named members of an object and of what is below it; what is no object holds no field that may leave."""
    if not isinstance(value, Mapping):
        return None
    kept = {}
    for name, member in value.items():
        below = frozenset(field.removeprefix(f"{name}.") for field in fields if field.startswith(f"{name}."))
        if name in fields:
            kept[name] = member
        elif below and member is not None:
            kept[name] = _kept(member, below) if not isinstance(member, list) else [_kept(one, below) for one in member]
    return kept


_GONE = object()


def _changed(value: Any, path: list[str], change: Callable[[Any], Any]) -> Any:
    """Change what stands at a path, in every member of a list on the way."""
    if isinstance(value, list):
        return [_changed(one, path, change) for one in value]
    if not isinstance(value, Mapping) or path[0] not in value:
        return value
    old = value[path[0]]
    new = _changed(old, path[1:], change) if path[1:] else change(old)
    kept = {name: member for name, member in value.items() if name != path[0] or new is not _GONE}
    return kept if new is _GONE else {**kept, path[0]: new}


def _masked(value: Any) -> Any:
    """Return a text's last characters behind a mask; of anything else, nothing: a part of a number is a number."""
    if value is None:
        return None
    if not isinstance(value, str):
        return _GONE
    return _MASK + value[-_LEGIBLE:] if len(value) >= 2 * _LEGIBLE else _MASK
