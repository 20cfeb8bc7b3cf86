"""A description of a thousand operations: how long it takes to pin, to load and to list, and how large the list is."""

import json
import time
from typing import Any

from broker.catalog import Catalog, catalog_tool
from broker.connector import ConnectorDocument
from connectors.openapi import CONNECTOR
from connectors.openapi.description import read_description
from connectors.openapi.pinning import pin
from connectors.openapi.settings import Settings

_RESOURCES = 200
_FIELDS = 25


def described() -> dict[str, Any]:
    """Measure; seconds of the processor."""
    content = json.dumps(_description()).encode()
    began = time.process_time()
    found = pin(read_description(content), {}, Settings(others="by-path"))
    pinned = time.process_time()
    snapshot = json.loads(json.dumps(found))
    spec = {
        "type": "openapi",
        "url": "https://service.example",
        "snapshot": "s.json",
        "settings": {"others": "by-path"},
    }
    document = ConnectorDocument.model_validate(spec)
    at = time.process_time()
    catalog = Catalog(catalog_tool("service", tool) for tool in CONNECTOR.tools(document, snapshot))
    loaded = time.process_time()
    tools = list(catalog)
    return {
        "operations": len(tools),
        "described_mb": len(content) / 1e6,
        "pin_seconds": pinned - began,
        "load_seconds": loaded - at,
        "schemas_mb": sum(len(json.dumps(one.tool.input_schema)) for one in tools) / 1e6,
    }


def _description() -> dict[str, Any]:
    """Describe a service with five operations on each of many resources that refer to each other."""
    schemas, paths = {}, {}
    for number in range(_RESOURCES):
        fields: dict[str, Any] = {f"field_{one}": {"type": "string", "maxLength": 200} for one in range(_FIELDS)}
        fields["next"] = _ref((number + 1) % _RESOURCES)
        schemas[f"Thing{number}"] = {"type": "object", "properties": fields}
        answer = {"200": {"description": "", "content": {"application/json": {"schema": _ref(number)}}}}
        several = {"type": "array", "items": _ref(number)}
        list_answer = {"200": {"description": "", "content": {"application/json": {"schema": several}}}}
        body = {"content": {"application/json": {"schema": _ref(number)}}}
        page = [{"name": name, "in": "query", "schema": {"type": "integer"}} for name in ("page", "per_page")]
        own = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
        paths[f"/things{number}"] = {
            "get": {"parameters": page, "responses": list_answer},
            "post": {"requestBody": body, "responses": answer},
        }
        paths[f"/things{number}/{{id}}"] = {
            "parameters": own,
            "get": {"responses": answer},
            "patch": {"requestBody": body, "responses": answer},
            "delete": {"responses": {"204": {"description": ""}}},
        }
    return {"openapi": "3.1.0", "info": {"title": "Things"}, "paths": paths, "components": {"schemas": schemas}}


def _ref(number: int) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/Thing{number}"}
