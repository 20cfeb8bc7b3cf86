"""The input and output schemas of the tools."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connectors.sql.statement import LONGEST
from connectors.sql.tables import Mapped
from connectors.sql.values import DEFAULT_RECORDS, MOST_RECORDS

Schema = dict[str, Any]

SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean"}
_FIELD: Schema = {"$ref": "#/$defs/field"}
_LIMIT: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": MOST_RECORDS,
    "description": f"{DEFAULT_RECORDS} if left out.",
}
_CURSOR: Schema = {
    "type": "string",
    "maxLength": 4096,
    "description": "From the answer before, with the same arguments otherwise: goes on there.",
}
_FIELDS: Schema = {
    "type": "array",
    "items": _FIELD,
    "minItems": 1,
    "uniqueItems": True,
    "description": "Which fields to return; all of them if left out.",
}


def closed(properties: Mapping[str, Any], required: Sequence[str] = ()) -> Schema:
    """Return the schema of an object that has these members and no others."""
    schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def query() -> Schema:
    """Return what a free query takes."""
    sql = {"type": "string", "minLength": 1, "maxLength": LONGEST, "description": "One SELECT statement."}
    return closed({"sql": sql, "limit": _LIMIT}, required=["sql"])


def read(of: Mapped) -> Schema:
    """Return what reading takes."""
    schema = closed({"key": key(of), "fields": _FIELDS}, required=["key"])
    return {**schema, "$defs": {"field": {"enum": list(of.fields)}}}


def search(of: Mapped) -> Schema:
    """Return what searching takes."""
    operators = {"enum": ["=", "!=", "<", "<=", ">", ">=", "in", "like"], "description": "'=' if left out."}
    value = {"description": "A list for 'in'; null with '=' and '!=' asks for what has no value.", "anyOf": [SCALAR]}
    value["anyOf"] = [SCALAR, {"type": "array", "items": SCALAR, "maxItems": 200}]
    one = closed({"field": _FIELD, "operator": operators, "value": value}, required=["field", "value"])
    order = closed({"field": _FIELD, "descending": {"type": "boolean"}}, required=["field"])
    properties = {
        "filters": {"type": "array", "items": one, "maxItems": 20, "description": "All of them must be true."},
        "fields": _FIELDS,
        "order_by": {"type": "array", "items": order, "maxItems": 5},
        "limit": _LIMIT,
        "cursor": _CURSOR,
        "count": {"type": "boolean", "description": "Whether 'total' says how many there are, whatever the limit."},
    }
    return {**closed(properties), "$defs": {"field": {"enum": list(of.fields)}}}


def create(of: Mapped, writable: Iterable[str]) -> Schema:
    """Return what creating takes."""
    names = list(writable)
    needed = [name for name in names if not of.fields[name].nullable and not of.fields[name].default]
    return closed({"values": _values(of, names, needed)}, required=["values"])


def update(of: Mapped, writable: Iterable[str]) -> Schema:
    """Return what changing takes."""
    return closed({"key": key(of), "values": _values(of, list(writable), [])}, required=["key", "values"])


def delete(of: Mapped) -> Schema:
    """Return what deleting takes."""
    return closed({"key": key(of)}, required=["key"])


def key(of: Mapped) -> Schema:
    """Return the schema of a row's key."""
    return closed({name: given(of, name) for name in of.table.key}, required=of.table.key)


def _values(of: Mapped, names: Sequence[str], needed: Sequence[str]) -> Schema:
    properties = {name: given(of, name, null=of.fields[name].nullable) for name in names}
    return {**closed(properties, required=needed), "minProperties": 1}


def given(of: Mapped, name: str, *, null: bool = False) -> Schema:
    """Return the schema of a value that an agent gives."""
    kind = of.fields[name].kind
    types: list[str] = [_TYPES.get(kind, "string")]
    if kind == "decimal" or of.dialect == "sqlite":
        types = ["string", "number", *(["boolean"] if of.dialect == "sqlite" else [])]
    return {"type": [*types, "null"] if null else types, **({"maxLength": 100_000} if "string" in types else {})}


def shown(of: Mapped) -> Schema:
    """Return the schema of a row as it leaves. SQLite holds a value of any type in any column."""
    if of.dialect == "sqlite":
        return closed(dict.fromkeys(of.fields, SCALAR))
    return closed({name: {"type": [_TYPES.get(one.kind, "string"), "null"]} for name, one in of.fields.items()})


def page(record: Schema) -> Schema:
    """Return what a list of rows answers."""
    return closed(
        {
            "records": {"type": "array", "items": record},
            "more": {"type": "boolean"},
            "cursor": {"type": "string"},
            "total": {"type": "integer"},
        },
        required=["records", "more"],
    )


ROW: Schema = {"type": "object", "additionalProperties": SCALAR}
DESCRIBED: Schema = closed(
    {
        "table": {"type": "string"},
        "key": {"type": "array", "items": {"type": "string"}},
        "fields": {
            "type": "array",
            "items": closed(
                {
                    "name": {"type": "string"},
                    "type": {"type": "string"},
                    "kind": {"type": "string"},
                    "nullable": {"type": "boolean"},
                }
            ),
        },
    }
)


def written(of: Mapped, word: str) -> Schema:
    """Return what a write answers."""
    return closed({"key": closed(dict.fromkeys(of.table.key, SCALAR)), word: {"type": "boolean"}})
