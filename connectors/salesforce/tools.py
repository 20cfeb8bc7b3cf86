"""The tools of every mapped object: what an agent reads of them, and what they do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.connector import ConnectorDocument, Session, Tool, ToolCall
from connectors.salesforce.search import MOST_RECORDS, OPERATORS, compile_soql
from connectors.salesforce.service import describe_object, query, read_record
from connectors.salesforce.snapshot import Settings, SnapshotField, SnapshotObject, json_type, read_snapshot

_DEFAULT_RECORDS = 50
_BUILT = ("read", "search", "describe")
_NOT_BUILT = ("create", "update", "delete", "export")


def tools(document: ConnectorDocument, snapshot: Any) -> list[Tool]:
    """Return the tools of every mapped object; those of an object that is not pinned yet are not built."""
    if document.snapshot is None:
        raise ValueError("'snapshot' is missing: name a JSON file here, and 'aam connector snapshot NAME' writes it")
    objects = read_snapshot(snapshot).objects if snapshot is not None else {}
    version = Settings.model_validate(document.settings).api_version
    found: list[Tool] = []
    for resource, name in document.resources.items():
        if name in objects and objects[name].leaving():
            found += _object_tools(resource, SObject(name, objects[name].leaving(), version), objects[name])
        else:
            found += (_not_built(resource, action, name) for action in (*_BUILT, *_NOT_BUILT))
    return found


@dataclass(frozen=True, slots=True)
class SObject:
    """One mapped object, with the calls that read it. `fields` are those that may leave."""

    name: str
    fields: Mapping[str, SnapshotField]
    version: str

    async def read(self, call: ToolCall, session: Session) -> Any:
        """Read one record by its id."""
        record_id, fields = call.arguments["id"], self._wanted(call.arguments)
        return {"record": await read_record(session, self.version, self.name, record_id, fields)}

    async def search(self, call: ToolCall, session: Session) -> Any:
        """Search by structured conditions, page after page, up to the limit."""
        limit = _limit(call.arguments)
        soql = compile_soql(self.name, self.fields, call.arguments, limit + 1)  # one more tells whether there is more
        fields = self._wanted(call.arguments)
        records = await query(session, self.version, soql, fields, limit + 1, call.emit)
        return {"records": records[:limit], "more": len(records) > limit}

    def check_search(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for a search that cannot be made."""
        compile_soql(self.name, self.fields, arguments, _limit(arguments) + 1)

    async def describe(self, _call: ToolCall, session: Session) -> Any:
        """Say what the object's fields are now, of those that may leave."""
        described = await describe_object(session, self.version, self.name)
        fields = [field.model_dump() for field in described.fields if field.name in self.fields]
        return {"label": described.label, "fields": fields}

    def _wanted(self, arguments: Mapping[str, Any]) -> Mapping[str, SnapshotField]:
        return {name: self.fields[name] for name in arguments.get("fields", self.fields)}


def _limit(arguments: Mapping[str, Any]) -> int:
    return int(arguments.get("limit", _DEFAULT_RECORDS))  # JSON Schema takes 10.0 for an integer too


def _object_tools(resource: str, sobject: SObject, pinned: SnapshotObject) -> Iterator[Tool]:
    record = {"type": "object", "properties": {name: _output(field) for name, field in sobject.fields.items()}}
    yield Tool(
        resource,
        "read",
        f"Read one {pinned.label} record of Salesforce by its id.",
        _read_schema(sobject.fields),
        _closed({"record": record}, required=["record"]),
        reads_only=True,
        run=sobject.read,
        records="record",
    )
    yield Tool(
        resource,
        "search",
        f"Search {pinned.label} records of Salesforce by conditions on their fields. "
        "Name the fields you need. 'more' in the answer says that the limit left records out.",
        _search_schema(sobject.fields),
        _closed(
            {"records": {"type": "array", "items": record}, "more": {"type": "boolean"}}, required=["records", "more"]
        ),
        reads_only=True,
        run=sobject.search,
        check=sobject.check_search,
        records="records",
    )
    yield Tool(
        resource,
        "describe",
        f"List the fields of {pinned.label} in Salesforce: names, types, whether they can be searched and ordered by, "
        "and the values of picklists.",
        _closed({}),
        _closed({"label": {"type": "string"}, "fields": {"type": "array", "items": _DESCRIBED_FIELD}}),
        reads_only=True,
        run=sobject.describe,
    )
    yield from (_not_built(resource, action, pinned.label) for action in _NOT_BUILT)


def _not_built(resource: str, action: str, label: str) -> Tool:
    return Tool(
        resource,
        action,
        f"{action.capitalize()} {label} records of Salesforce.",
        {"type": "object"},
        _closed({}),
        reads_only=action in (*_BUILT, "export"),
    )


# --- Schemas: short, because every agent that lists the tools reads them ---------------------------------------------

_FIELD = {"$ref": "#/$defs/field"}


def _read_schema(fields: Mapping[str, SnapshotField]) -> dict[str, Any]:
    record_id = {
        "type": "string",
        "pattern": "^[a-zA-Z0-9]{15}([a-zA-Z0-9]{3})?$",
        "description": "The record's id, 15 or 18 characters.",
    }
    schema = _closed({"id": record_id, "fields": _some_fields()}, required=["id"])
    return {**schema, "$defs": {"field": {"enum": list(fields)}}}


def _search_schema(fields: Mapping[str, SnapshotField]) -> dict[str, Any]:
    comparison = {
        "field": _FIELD,
        "operator": {"$ref": "#/$defs/operator"},
        "value": {
            "type": ["string", "number", "boolean", "array"],
            "items": {"type": ["string", "number", "boolean"]},
            "maxItems": 100,
            "maxLength": 1000,
            "description": "Dates as 2026-11-23, moments as 2026-11-23T21:54:07Z; a list for in and not_in.",
        },
    }
    several = {"type": "array", "items": {"$ref": "#/$defs/comparison"}, "minItems": 1, "maxItems": 20}
    properties = {
        "filters": {
            "type": "array",
            "items": _closed({**comparison, "any_of": several, "none_of": several}),
            "maxItems": 20,
            "description": "Each {field, operator, value}, or {any_of: [...]} or {none_of: [...]} of such.",
        },
        "match": {"enum": ["all", "any"], "description": "Whether all filters must hold (default) or any."},
        "fields": _some_fields(),
        "order_by": {
            "type": "array",
            "items": _closed({"field": _FIELD, "descending": {"type": "boolean"}}, required=["field"]),
            "maxItems": 5,
        },
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_RECORDS,
            "description": f"{_DEFAULT_RECORDS} if left out.",
        },
    }
    definitions = {
        "field": {"enum": list(fields)},
        "operator": {"enum": list(OPERATORS)},
        "comparison": _closed(comparison, required=["field", "operator"]),
    }
    return {**_closed(properties), "$defs": definitions}


def _some_fields() -> dict[str, Any]:
    return {
        "type": "array",
        "items": _FIELD,
        "minItems": 1,
        "uniqueItems": True,
        "description": "Which fields to return; all of them if left out.",
    }


_DESCRIBED_FIELD = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "label": {"type": "string"},
        "type": {"type": "string"},
        "filterable": {"type": "boolean"},
        "sortable": {"type": "boolean"},
        "picklist": {"type": "array", "items": {"type": "string"}},
    },
}


def _closed(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def _output(field: SnapshotField) -> dict[str, Any]:
    return {"type": [json_type(field.type), "null"]}
