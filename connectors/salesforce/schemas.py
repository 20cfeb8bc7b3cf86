"""The input and output schemas of the tools: short, because every agent that lists the tools reads them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connectors.salesforce.composite import MOST_OPERATIONS, OPERATIONS
from connectors.salesforce.pages import DEFAULT_RECORDS, GREATEST_OFFSET, MOST_RECORDS
from connectors.salesforce.search import OPERATORS
from connectors.salesforce.snapshot import SnapshotField, json_type
from connectors.salesforce.values import values_schema

Schema = dict[str, Any]
Fields = Mapping[str, SnapshotField]

_FIELD: Schema = {"$ref": "#/$defs/field"}
ID: Schema = {
    "type": "string",
    "pattern": "^[a-zA-Z0-9]{15}([a-zA-Z0-9]{3})?$",
    "description": "The record's id, 15 or 18 characters.",
}
_CURSOR: Schema = {
    "type": "string",
    "maxLength": 4096,
    "description": "From the answer before, with the same arguments otherwise: goes on there.",
}
_UNCHANGED: Schema = {
    "type": "string",
    "maxLength": 40,
    "description": "The LastModifiedDate that you have read: what was changed since is not written.",
}
_SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}


def closed(properties: Mapping[str, Any], required: Sequence[str] = ()) -> Schema:
    """Return the schema of an object that has these members and no others."""
    schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def limit(most: int = MOST_RECORDS, least: int = 1) -> Schema:
    """Return the schema of how many records are wanted."""
    return {"type": "integer", "minimum": least, "maximum": most, "description": f"{DEFAULT_RECORDS} if left out."}


def some_fields(*, known: bool = True) -> Schema:
    """Return the schema of which fields are wanted."""
    return {
        "type": "array",
        "items": _FIELD if known else {"type": "string", "maxLength": 80},
        "minItems": 1,
        "uniqueItems": True,
        "description": "Which fields to return; all of them if left out.",
    }


# --- What is asked ---------------------------------------------------------------------------------------------------


def read(fields: Fields) -> Schema:
    """Return what reading takes."""
    schema = closed({"id": ID, "fields": some_fields()}, required=["id"])
    return {**schema, "$defs": {"field": {"enum": list(fields)}}}


def search(fields: Fields) -> Schema:
    """Return what searching takes."""
    properties = {
        **_conditions(),
        "fields": some_fields(),
        "order_by": {
            "type": "array",
            "items": closed({"field": _FIELD, "descending": {"type": "boolean"}}, required=["field"]),
            "maxItems": 5,
        },
        "limit": {**limit(least=0), "description": f"{DEFAULT_RECORDS} if left out; 0 with 'count' only counts."},
        "offset": {"type": "integer", "minimum": 0, "maximum": GREATEST_OFFSET},
        "cursor": _CURSOR,
        "count": {"type": "boolean", "description": "Whether 'total' says how many there are, whatever the limit."},
    }
    return {**closed(properties), "$defs": _definitions(fields)}


def export(fields: Fields, most: int) -> Schema:
    """Return what exporting takes."""
    properties = {
        **_conditions(),
        "fields": some_fields(),
        "limit": {**limit(), "description": f"Records in one page; {DEFAULT_RECORDS} if left out."},
        "most": {"type": "integer", "minimum": 1, "maximum": most, "description": "Records in all."},
        "cursor": _CURSOR,
    }
    return {**closed(properties), "$defs": _definitions(fields)}


def related(relationships: Iterable[str]) -> Schema:
    """Return what asking for related records takes."""
    properties = {
        "id": ID,
        "relationship": {"enum": list(relationships)},
        "fields": some_fields(known=False),
        "limit": limit(),
        "cursor": _CURSOR,
    }
    return closed(properties, required=["id", "relationship", "fields"])


def create(fields: Fields) -> Schema:
    """Return what creating takes."""
    distinct = {
        "type": "string",
        "maxLength": 80,
        "description": "Any text, to create a second record of the same values: the call is then another one.",
    }
    return closed({"values": values_schema(fields, required=True), "distinct": distinct}, required=["values"])


def update(fields: Fields) -> Schema:
    """Return what changing takes."""
    properties = {"id": ID, "values": values_schema(fields, required=False), "unchanged_since": _UNCHANGED}
    return closed(properties, required=["id", "values"])


def upsert(fields: Fields, external_ids: Iterable[str]) -> Schema:
    """Return what changing or creating by an external id takes."""
    properties = {
        "field": {"enum": list(external_ids)},
        "value": {"type": "string", "minLength": 1, "maxLength": 255},
        "values": values_schema(fields, required=False),
        "unchanged_since": _UNCHANGED,
    }
    return closed(properties, required=["field", "value", "values"])


def delete() -> Schema:
    """Return what deleting takes."""
    return closed({"id": ID, "unchanged_since": _UNCHANGED}, required=["id"])


def composite(resources: Iterable[str]) -> Schema:
    """Return what writing several records takes."""
    operation = closed(
        {
            "operation": {"enum": list(OPERATIONS)},
            "resource": {"enum": list(resources)},
            "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,30}$"},
            "id": ID,
            "field": {"type": "string", "maxLength": 80},
            "value": {"type": "string", "minLength": 1, "maxLength": 255},
            "values": {"type": "object", "minProperties": 1, "maxProperties": 200},
            "unchanged_since": _UNCHANGED,
        },
        required=["operation", "resource"],
    )
    properties = {
        "operations": {
            "type": "array",
            "items": operation,
            "minItems": 1,
            "maxItems": MOST_OPERATIONS,
            "description": "In their order; '@{NAME.id}' is the id of what the operation of that name creates.",
        },
        "all_or_none": {"type": "boolean", "description": "Whether one failure undoes all; true if left out."},
    }
    return closed(properties, required=["operations"])


def across(resources: Sequence[str]) -> Schema:
    """Return what a search across objects takes."""
    properties = {
        "text": {"type": "string", "minLength": 2, "maxLength": 200, "description": "Words that all must occur"},
        "resources": {"type": "array", "items": {"enum": list(resources)}, "minItems": 1, "uniqueItems": True},
        "fields": {**some_fields(known=False), "description": "Which fields to return, where an object has them."},
        "limit": {**limit(200), "description": f"For each resource; {DEFAULT_RECORDS} if left out."},
    }
    return closed(properties, required=["text", "resources", "fields"])


def free() -> Schema:
    """Return what a query takes."""
    soql = {"type": "string", "minLength": 1, "maxLength": 10_000}
    return closed({"soql": soql, "limit": limit(), "cursor": _CURSOR}, required=["soql"])


def _conditions() -> Schema:
    comparison = {
        "field": _FIELD,
        "operator": {"$ref": "#/$defs/operator"},
        "value": {
            "type": ["string", "number", "boolean", "array"],
            "items": {"type": ["string", "number", "boolean"]},
            "maxItems": 100,
            "maxLength": 1000,
            "description": "Dates as 2026-11-23, moments as 2026-11-23T21:54:07Z, or TODAY, LAST_N_DAYS:30 and such; "
            "a list for in and not_in.",
        },
    }
    several = {"type": "array", "items": {"$ref": "#/$defs/comparison"}, "minItems": 1, "maxItems": 20}
    return {
        "filters": {
            "type": "array",
            "items": closed({**comparison, "any_of": several, "none_of": several}),
            "maxItems": 20,
            "description": "Each {field, operator, value}, or {any_of: [...]} or {none_of: [...]} of such.",
        },
        "match": {"enum": ["all", "any"], "description": "Whether all filters must hold (default) or any."},
    }


def _definitions(fields: Fields) -> Schema:
    value = {
        "type": ["string", "number", "boolean", "array"],
        "items": {"type": ["string", "number", "boolean"]},
        "maxItems": 100,
        "maxLength": 1000,
    }
    comparison = {"field": _FIELD, "operator": {"$ref": "#/$defs/operator"}, "value": value}
    return {
        "field": {"enum": list(fields)},
        "operator": {"enum": list(OPERATORS)},
        "comparison": closed(comparison, required=["field", "operator"]),
    }


# --- What may leave --------------------------------------------------------------------------------------------------


def record(fields: Fields) -> Schema:
    """Return what a record may show."""
    properties = {name: {"type": [json_type(field.type), "null"]} for name, field in fields.items()}
    return {"type": "object", "properties": properties}


def page(one: Schema, **more: Schema) -> Schema:
    """Return what a page of records may show."""
    properties = {
        "records": {"type": "array", "items": one},
        "more": {"type": "boolean"},
        "cursor": {"type": "string"},
        "total": {"type": "integer"},
        **more,
    }
    return closed(properties, required=["records", "more"])


def written(*flags: str) -> Schema:
    """Return what a write may show."""
    return closed({"id": {"type": "string"}, **{flag: {"type": "boolean"} for flag in flags}}, required=["id", *flags])


RESULTS = closed(
    {
        "results": {
            "type": "array",
            "items": closed(
                {
                    "id": {"type": ["string", "null"]},
                    **{name: {"type": "string"} for name in ("status", "code", "message")},
                },
                required=["status"],
            ),
        }
    },
    required=["results"],
)
ROWS = {"type": "object", "additionalProperties": _SCALAR}
QUERY_ROWS = {
    "type": "object",
    "additionalProperties": {
        "type": ["string", "number", "boolean", "null", "array"],
        "items": {"type": "object", "additionalProperties": _SCALAR},
    },
}
FOUND = closed(
    {
        "results": {"type": "array", "items": closed({"resource": {"type": "string"}, "record": ROWS})},
        "more": {"type": "boolean"},
    },
    required=["results", "more"],
)
DESCRIBED_FIELD = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("name", "label", "type")},
        **{name: {"type": "boolean"} for name in ("filterable", "sortable", "createable", "updateable", "nillable")},
        **{name: {"type": "boolean"} for name in ("defaulted_on_create", "external_id")},
        **{name: {"type": "array", "items": {"type": "string"}} for name in ("picklist", "references")},
        "length": {"type": "integer"},
        "relationship": {"type": ["string", "null"]},
    },
}
