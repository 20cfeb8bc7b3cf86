"""What is written: the input schemas of values, from the pinned snapshot, and the same checks for composite writes."""

import difflib
from collections.abc import Mapping
from typing import Any

from broker.connector import errors
from connectors.salesforce.literals import expected, literal
from connectors.salesforce.snapshot import NUMBER, SnapshotField

Fields = Mapping[str, SnapshotField]

_ONE_OF = frozenset({"picklist", "combobox"})


def value_schema(field: SnapshotField) -> dict[str, Any]:
    """Return the schema of one field's value; null empties a field that may be empty."""
    kind = "boolean" if field.type == "boolean" else "number" if field.type in NUMBER else "string"
    if field.type in {"int", "long"}:
        kind = "integer"
    schema: dict[str, Any] = {"type": [kind, "null"] if field.nillable and kind != "boolean" else kind}
    if field.type in _ONE_OF and field.picklist:
        return {"enum": [*field.picklist, *([None] if field.nillable else [])]}
    if kind == "string" and field.length:
        schema["maxLength"] = field.length
    return schema


def values_schema(fields: Fields, *, required: bool) -> dict[str, Any]:
    """Return the schema of the values of a record that is created, or changed."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: value_schema(field) for name, field in fields.items()},
        "additionalProperties": False,
        "minProperties": 1,
    }
    demanded = [name for name, field in fields.items() if field.required] if required else []
    return {**schema, "required": demanded} if demanded else schema


def check_values(fields: Fields, values: Mapping[str, Any], *, required: bool) -> None:
    """Raise `InvalidArguments` for values that are not of their fields, as the schemas say it and beyond."""
    for name, value in values.items():
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
            raise errors.InvalidArguments(f"{name} cannot be written here{f'; {close[0]} can' if close else ''}.")
        _check(fields[name], value)
    missing = [name for name, field in fields.items() if field.required and values.get(name) is None]
    if required and missing:
        raise errors.InvalidArguments(f"A new record needs {', '.join(missing)}.")


def same(field: SnapshotField, stored: Any, wanted: Any) -> bool:
    """Tell whether a field holds a value already; where in doubt it does not."""
    if wanted == "":
        wanted = None  # the service stores an empty text as null
    if stored is None or wanted is None:
        return stored is wanted
    if field.type in {"id", "reference"}:
        return str(stored)[:15] == str(wanted)[:15]
    if field.type in NUMBER:
        return float(stored) == float(wanted)
    return bool(stored == wanted)


def _check(field: SnapshotField, value: Any) -> None:
    if value is None:
        if not field.nillable:
            raise errors.InvalidArguments(f"{field.name} cannot be empty.")
        return
    if field.type in _ONE_OF and field.picklist and value not in field.picklist:
        raise errors.InvalidArguments(f"The value for {field.name} must be {expected(field)}.")
    literal(field, value)
    if isinstance(value, str) and field.length and len(value) > field.length:
        raise errors.InvalidArguments(f"The text for {field.name} has more than {field.length} characters.")
