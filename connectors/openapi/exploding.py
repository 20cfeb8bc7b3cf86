"""Objects that are exploded: their members stand beside the operation's parameters, as if they were such themselves."""

from collections.abc import Mapping
from typing import Any

from broker.connector import errors
from connectors.openapi.description import Description, listed, mapping
from connectors.openapi.snapshot import Operation, Parameter

_BRANCHES = ("allOf", "anyOf", "oneOf")
_WITHIN = frozenset({"deepObject", "json"})
"""Styles that write an object within its parameter's own name."""
_MOST = 1000  # schemas within schemas


def is_exploded(style: str, *, explode: bool) -> bool:
    """Tell whether a parameter's members would stand beside it."""
    return explode and style not in _WITHIN


def declared(description: Description, schema: Any) -> set[str] | None:
    """Return the members that a schema declares for an object; None where no value of it is one."""
    found: set[str] = set()
    whole = mapping(description.resolved(schema))
    kinds = [whole["type"]] if isinstance(whole.get("type"), str) else listed(whole.get("type"))
    if kinds and "object" not in kinds:
        return None
    waiting = [whole]
    for node in waiting:  # grows while it is gone through
        found |= {name for name in mapping(node.get("properties")) if isinstance(name, str)}
        branches = [one for branch in _BRANCHES for one in listed(node.get(branch))]
        waiting += [mapping(description.resolved(one)) for one in branches[: max(0, _MOST - len(waiting))]]
    return found


def closed(schema: Mapping[str, Any], members: list[str]) -> dict[str, Any]:
    """Return a schema that, of an object, takes those members only."""
    return {**schema, "propertyNames": {"enum": members} if members else False}


def check_members(operation: Operation, parameter: Parameter, value: Any) -> None:
    """Raise `InvalidArguments` for a member that is not pinned, or that would be another parameter of the operation."""
    if not isinstance(value, Mapping) or not is_exploded(parameter.style, explode=parameter.explode):
        return
    others = {one.name.lower() for one in operation.parameters if one.place == parameter.place and one != parameter}
    if operation.pages is not None and parameter.place == "query":
        others |= {name.lower() for name in (operation.pages.parameter, operation.pages.size) if name}
    if any(name not in parameter.members or name.lower() in others for name in value):
        raise errors.InvalidArguments(f"{parameter.argument!r} has a member that the operation does not describe.")
