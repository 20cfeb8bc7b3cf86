"""The tools of what is pinned: what an agent reads of each, what it takes, what may leave, and what it does."""

from collections.abc import Iterator, Mapping
from typing import Any

from broker.connector import ConnectorDocument, Tool
from connectors.openapi import shapes
from connectors.openapi.bounding import Definitions
from connectors.openapi.calling import DEFAULT_RECORDS, MOST_RECORDS, Caller
from connectors.openapi.description import Description
from connectors.openapi.pinning import pin
from connectors.openapi.settings import Settings, settings_of
from connectors.openapi.snapshot import Operation, Snapshot, read_snapshot

_USUAL = {"search": True, "read": True, "create": False, "update": False, "delete": False}
"""Actions, and whether they only read, that policies can name before anything is pinned."""
_LARGEST_SCHEMA = 12_000  # bytes
_MOST_TOLD = 60  # members of a result that clients are told of
_OF_OAUTH = ("client-credentials", "authorization-code", "token-exchange", "id-jag", "jwt-bearer")
_NO_SCHEMA = {"type": "object"}
_VALUE: shapes.Shape = {}
"""The shape of a single value: what has no members."""


def tools(document: ConnectorDocument, snapshot: Any) -> list[Tool]:
    """Return a tool for each mapped operation. What is pinned may be a whole description: it is mapped here then."""
    if document.snapshot is None:
        raise ValueError("'snapshot' is missing: name a JSON file here, and 'aam connector snapshot NAME' writes it")
    settings = settings_of(document.settings)
    if not document.resources and settings.others == "left-out":
        raise ValueError("nothing is mapped: name 'resources', or set 'settings.others' to by-tag or by-path")
    _check_grants(document)
    if snapshot is None:
        return [_not_built(resource, action) for resource in document.resources for action in _USUAL]
    pinned = _pinned(document, settings, snapshot)
    place = "" if _has_path(document.url or "") else pinned.place
    inputs = Definitions(pinned.inputs)
    return [
        _tool(resource, action, _placed(operation, place), pinned, inputs, settings)
        for resource, actions in pinned.resources.items()
        if resource in document.resources or settings.others != "left-out" or _moved(settings, resource)
        for action, operation in actions.items()
    ]


def _pinned(document: ConnectorDocument, settings: Settings, snapshot: Any) -> Snapshot:
    if not isinstance(snapshot, Mapping):
        raise ValueError("the snapshot is neither one of an OpenAPI description nor the description itself")
    if "openapi" in snapshot or "swagger" in snapshot:
        snapshot = pin(Description(snapshot), document.resources, settings, document.grants.api_key.header)
    return read_snapshot(snapshot)


def _check_grants(document: ConnectorDocument) -> None:
    kinds = document.grants.kinds or ()
    if document.oauth.token_endpoint is None and (needs := [kind for kind in kinds if kind in _OF_OAUTH]):
        raise ValueError(f"'oauth.token_endpoint' is missing: {needs[0]} grants get their tokens there")


def _has_path(url: str) -> bool:
    return bool(url.removeprefix("https://").partition("/")[2].strip("/"))


def _moved(settings: Settings, resource: str) -> bool:
    return any(one.resource == resource for one in settings.operations.values())


def _placed(operation: Operation, place: str) -> Operation:
    return operation.model_copy(update={"path": place + operation.path}) if place else operation


def _tool(
    resource: str, action: str, operation: Operation, pinned: Snapshot, inputs: Definitions, settings: Settings
) -> Tool:
    envelope = _beside(operation, pinned.results) if operation.lists else ()
    caller = Caller(operation, settings, envelope)
    output = _output(operation, pinned.results, envelope)
    return Tool(
        resource,
        action,
        _description(operation, pinned.title),
        inputs.closed(_input(operation), _LARGEST_SCHEMA),
        output,
        reads_only=operation.reads_only,
        scopes=tuple(operation.scopes),
        run=caller.list if operation.lists else caller.run,
        check=caller.check,
        records="records" if operation.lists else operation.records,
        told=_told(output, pinned.results),
    )


def _description(operation: Operation, title: str) -> str:
    said = f"{title}: {operation.description}" if title else operation.description
    if operation.lists:
        said += " 'more' in the answer says that there are others, 'cursor' leads to them."
    if operation.idempotency is not None:
        said += " Repeating the same call does it once."
    elif operation.method == "POST" and not operation.reads_only:
        said += " Repeating the call does it again: where the outcome is unknown, look first."
    return said


# --- What goes in ----------------------------------------------------------------------------------------------------


def _input(operation: Operation) -> dict[str, Any]:
    properties: dict[str, Any] = {one.argument: one.of for one in operation.parameters}
    required = [one.argument for one in operation.parameters if one.required]
    if operation.body is not None:
        properties["body"] = operation.body.of
        required += ["body"] if operation.body.required else []
    if operation.lists:
        properties["limit"] = {
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_RECORDS,
            "description": f"How many records; {DEFAULT_RECORDS} if left out.",
        }
        properties["cursor"] = {
            "type": "string",
            "maxLength": 20_000,
            "description": "Where the last answer ended; everything else as it was.",
        }
    if operation.idempotency is not None:
        properties["distinct"] = {
            "type": "string",
            "maxLength": 80,
            "description": "Any text, to do the same a second time: the call is then another one.",
        }
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


# --- What comes out --------------------------------------------------------------------------------------------------


def _beside(operation: Operation, definitions: shapes.Definitions) -> tuple[str, ...]:
    """Return what an answer says beside its records: single values only, since none of them is narrowed."""
    own = {"records", "more", "cursor", operation.records}
    return tuple(name for name in shapes.scalars(operation.result, definitions) if name not in own)


def _output(operation: Operation, definitions: shapes.Definitions, envelope: tuple[str, ...]) -> dict[str, Any]:
    if operation.lists:
        members: dict[str, Any] = {name: {} for name in envelope}
        records = {"items": _record(operation, definitions)}
        members |= {"records": records, "more": {}, "cursor": {}}
        return {"type": "object", "properties": members, "$defs": definitions}
    said: dict[str, Any] = {"done": {}, "text": {}, "result": operation.result}
    if operation.records:  # what stands beside the record is no part of it, and no rule would narrow it
        several = shapes.members(operation.result, definitions).get(operation.records) or [_VALUE]
        said |= {**dict.fromkeys(_beside(operation, definitions), _VALUE), operation.records: shapes.joined(several)}
        return {"type": "object", "properties": said, "$defs": definitions}
    for name, several in shapes.members(operation.result, definitions).items():
        said[name] = shapes.joined(several)
    others = [one["additionalProperties"] for one in shapes.plain(operation.result, definitions) if _has_others(one)]
    found = {"type": "object", "properties": said, "$defs": definitions}
    return {**found, "additionalProperties": shapes.joined(others)} if others else found


def _has_others(shape: shapes.Shape) -> bool:
    return isinstance(shape.get("additionalProperties"), Mapping)


def _record(operation: Operation, definitions: shapes.Definitions) -> shapes.Shape:
    """Return what each record of a list may have."""
    several: list[shapes.Shape] = [operation.result]
    for name in (operation.records or "").split(".") if operation.records else ():
        several = [one for shape in several for one in shapes.members(shape, definitions).get(name, ())]
    found = [one for shape in several if (one := shapes.items(shape, definitions)) is not None]
    return shapes.joined(found) if found else {}


def _told(output: Mapping[str, Any], definitions: shapes.Definitions) -> dict[str, Any]:
    """Return what clients are told of the result: its members' names. Types are the service's promise, not ours."""
    told: dict[str, Any] = {name: {} for name in list(shapes.members(output, definitions))[:_MOST_TOLD]}
    if "more" in told and (record := shapes.items(output["properties"]["records"], definitions)) is not None:
        names = list(shapes.members(record, definitions))[:_MOST_TOLD]
        told["records"] = {"type": "array", "items": {"properties": {name: {} for name in names}}}
    return {"type": "object", "properties": told}


def _not_built(resource: str, action: str) -> Tool:
    words = f"{action.capitalize()} {resource}; nothing is pinned of it yet."
    return Tool(resource, action, words, _NO_SCHEMA, _NO_SCHEMA, reads_only=_USUAL[action])


def named(actions: Mapping[str, Operation]) -> Iterator[str]:
    """Yield an operation's action and how people write it."""
    yield from (f"{action}: {operation.method} {operation.path}" for action, operation in actions.items())
