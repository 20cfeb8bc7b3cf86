"""Shapes: which members a result may have, looked into through references and branches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.openapi.schemas import ANY

Shape = Mapping[str, Any]
Definitions = Mapping[str, Shape]

_BRANCHES = ("allOf", "anyOf", "oneOf")
_PREFIX = "#/$defs/"
_LISTS = ("data", "items", "results", "records", "value", "values", "entries", "list", "content", "elements", "objects")
_FEW = 8  # members that an envelope may have
_RECORD = "data"


def plain(shape: Shape, definitions: Definitions) -> list[Shape]:
    """Return every shape that a value may have, without references and branches of their own."""
    found: list[Shape] = []
    waiting, seen = [shape], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        name = one.get("$ref")
        if isinstance(name, str):
            waiting.append(definitions.get(name.removeprefix(_PREFIX), {}))
        for branch in _BRANCHES:
            waiting += one.get(branch, ())
        if one.keys() & {"properties", "items", "additionalProperties"}:
            found.append(one)
    return found


def members(shape: Shape, definitions: Definitions) -> dict[str, list[Shape]]:
    """Return what a value's members may be, by name."""
    found: dict[str, list[Shape]] = {}
    for one in plain(shape, definitions):
        for name, member in one.get("properties", {}).items():
            found.setdefault(name, []).append(member)
    return found


def items(shape: Shape, definitions: Definitions) -> Shape | None:
    """Return what the items of a value may be; None where it is no list."""
    found = [one["items"] for one in plain(shape, definitions) if "items" in one]
    return joined(found) if found else None


def joined(shapes: Sequence[Shape]) -> Shape:
    """Return one shape for several."""
    return shapes[0] if len(shapes) == 1 else {"anyOf": list(shapes)}


def is_any(shape: Shape) -> bool:
    """Tell whether it is the shape of what may be anything."""
    return shape.get("$ref") == _PREFIX + ANY


def list_place(shape: Shape, definitions: Definitions, resource: str) -> str | None:
    """Return the member that holds a list of records, "" where the whole is the list, None where there is none."""
    if is_any(shape):
        return None
    if items(shape, definitions) is not None:
        return ""
    known = members(shape, definitions)
    lists = [name for name, several in known.items() if any(_is_list(one, definitions) for one in several)]
    for name in (*_LISTS, resource):
        if name in lists:
            return name
    return lists[0] if len(lists) == 1 and len(known) <= _FEW else None


def record_place(shape: Shape, definitions: Definitions) -> str | None:
    """Return the member that holds the record, "" where the whole is the record, None where that is not known."""
    known = members(shape, definitions)
    if is_any(shape) or not known:
        return None
    wrapped = known.get(_RECORD, ())
    if len(known) <= _FEW and any(not is_any(one) and plain(one, definitions) for one in wrapped):
        return _RECORD
    return ""


def scalars(shape: Shape, definitions: Definitions) -> list[str]:
    """Return the members of an envelope that hold no members of their own."""
    return sorted(
        name
        for name, several in members(shape, definitions).items()
        if not any(plain(one, definitions) for one in several)
    )


def find(shape: Shape, definitions: Definitions, depth: int = 2, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and path of every member, those of members too, to a depth."""
    for name, several in members(shape, definitions).items():
        if "." in name and not name.startswith("@"):
            continue
        yield name, f"{path}{name}"
        if depth > 1:
            for one in several:
                if not is_any(one) and not _is_list(one, definitions):
                    yield from find(one, definitions, depth - 1, f"{path}{name}.")


def _is_list(shape: Shape, definitions: Definitions) -> bool:
    return not is_any(shape) and any("items" in one for one in plain(shape, definitions))
