"""A tool as one agent is told of it: hints of what its policies leave. What a call may be is decided with the call."""

from collections.abc import Mapping
from typing import Any

from broker.policy import Narrowing

_MOST_NAMED = 20  # fields, in a sentence
_DEFINITION = "#/$defs/"

Schema = Mapping[str, Any]


def narrowed_schema(schema: Schema, narrowing: Narrowing) -> Schema:
    """Return an input schema whose `fields` name what may be seen, and whose `limit` is no more than may be had.

    Only a hint: calls are checked against the tool's own schema, and then decided.
    """
    properties = dict(schema.get("properties", {}))
    definitions = dict(schema.get("$defs", {}))
    fields, limit = properties.get("fields"), properties.get("limit")
    if narrowing.fields is not None and isinstance(fields, Mapping) and isinstance(fields.get("items"), Mapping):
        _narrow_items(properties, definitions, fields, narrowing.fields)
    if narrowing.records is not None and isinstance(limit, Mapping):
        properties["limit"] = {**limit, "maximum": min(limit.get("maximum", narrowing.records), narrowing.records)}
    return {**schema, "properties": properties, **({"$defs": definitions} if definitions else {})}


def _narrow_items(
    properties: dict[str, Any], definitions: dict[str, Any], fields: Schema, allowed: frozenset[str]
) -> None:
    """Narrow the names that `fields` may hold, where they stand: what else refers to them is narrowed too."""
    items = fields["items"]
    name = str(items.get("$ref", "")).removeprefix(_DEFINITION)
    if name in definitions:
        definitions[name] = _names(definitions[name], allowed)
    else:
        properties["fields"] = {**fields, "items": _names(items, allowed)}


def _names(schema: Schema, allowed: frozenset[str]) -> Schema:
    kept = [one for one in schema["enum"] if one in allowed] if "enum" in schema else sorted(allowed)
    return {**schema, "enum": kept} if kept else schema  # an empty `enum` is no schema to many readers


def said(narrowing: Narrowing) -> str:
    """Return a sentence about what the agent's policies leave of a tool; nothing if they leave all of it."""
    parts = []
    if narrowing.fields is not None:
        named = sorted(narrowing.fields)
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        parts.append(f"only the fields {', '.join(named[:_MOST_NAMED])}{more}")
    if narrowing.records is not None:
        parts.append(f"{narrowing.records} records at most")
    if narrowing.filtered:
        parts.append("only some records")
    return f" Your policies leave {'; '.join(parts)}." if parts else ""
