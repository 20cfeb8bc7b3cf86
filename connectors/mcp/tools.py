"""Pinned definitions as the broker's tools: one for each of the server's, and those behind resources and prompts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import jsonschema_rs
from mcp.shared.inbound import find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map

from broker.connector import WHOLE, ConnectorDocument, Session, Tool, ToolCall, errors
from connectors.mcp.messages import Message
from connectors.mcp.run import RESULTS, Server
from connectors.mcp.settings import McpSettings, ToolSettings, settings_of

_NOT_IN_WORDS = re.compile(r"[^a-z0-9_]+")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TOLD = ("title", "outputSchema", "annotations", "icons")
_RESULT = {"type": "object", "properties": dict.fromkeys(("content", "structuredContent", "isError"), WHOLE)}
_REST = {
    "resources": {"type": "object", "properties": {"contents": WHOLE}},
    "prompts": {"type": "object", "properties": {"description": WHOLE, "messages": WHOLE}},
    "completion": {"type": "object", "properties": {"completion": WHOLE}},
}
_ASKING = dict.fromkeys(("resultType", "inputRequests", "requestState"), WHOLE)
_TEXT = {"type": "string", "maxLength": 8192}
_READ = {"type": "object", "properties": {"uri": _TEXT}, "required": ["uri"], "additionalProperties": False}
_GET = {
    "type": "object",
    "properties": {"name": _TEXT, "arguments": {"type": "object", "additionalProperties": {"type": "string"}}},
    "required": ["name"],
    "additionalProperties": False,
}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_ARGUMENT = {
    "type": "object",
    "properties": {"name": _TEXT, "value": _TEXT},
    "required": ["name", "value"],
    "additionalProperties": False,
}
_CONTEXT = {"type": "object", "properties": {"arguments": _TEXTS}, "additionalProperties": False}


def tools(document: ConnectorDocument, snapshot: Any) -> Sequence[Tool]:
    """Return what the pin defines; nothing while nothing is pinned. Raises `ValueError` for what does not fit."""
    if snapshot is None:
        return []
    if not isinstance(snapshot, Mapping) or not isinstance(snapshot.get("tools"), list):
        raise ValueError("the snapshot is not that of an MCP server; fetch it with 'aam connector snapshot'")
    settings = settings_of(document)
    server = Server(document, settings, snapshot)
    known = {one["name"] for one in snapshot["tools"]}
    if unknown := sorted(settings.tools.keys() - known):
        raise ValueError(f"settings.tools names {unknown[0]!r}, which the server does not have")
    offered = [
        _tool(server, settings, one) for one in snapshot["tools"] if settings.tools.get(one["name"], _AS_IT_IS).offered
    ]
    offered += _beside(server, settings, snapshot)
    _check_apart(offered)
    return offered


_AS_IT_IS = ToolSettings()


def word(name: str) -> str:
    """Return a server's name as policies can write it: readFile is read_file."""
    plain = _NOT_IN_WORDS.sub("_", _HUMP.sub("_", name).lower()).strip("_")
    return plain if plain[:1].isalpha() else f"tool_{plain}"


def _tool(server: Server, settings: McpSettings, definition: Message) -> Tool:
    own = settings.tools.get(definition["name"], _AS_IT_IS)
    annotations = definition.get("annotations") or {}
    reads = annotations.get("readOnlyHint") is True if own.reads_only is None else own.reads_only
    upstream = settings.names == "upstream" and own.name is None
    schema = definition.get("inputSchema")
    if not isinstance(schema, dict):
        raise ValueError(f"the snapshot's tool {definition['name']!r} has no input schema")
    return Tool(
        resource=own.resource or word(definition["name"]),
        action=own.action or ("read" if reads else "call"),
        description=definition.get("description") or f"The tool {definition['name']!r} of an MCP server.",
        input_schema=schema,
        output_schema={**_RESULT, "properties": {**_RESULT["properties"], **_ASKING}},  # type: ignore[dict-item]
        reads_only=reads,
        run=_Called(server, definition),
        name=definition["name"] if upstream else own.name or _NOT_IN_NAMES.sub("_", definition["name"]),
        prefixed=not upstream,
        in_mcp=True,
        definition={name: definition[name] for name in _TOLD if name in definition},
    )


class _Called:
    """What a call of one of the server's tools does."""

    def __init__(self, server: Server, definition: Message) -> None:
        self._server = server
        self._name: str = definition["name"]
        schema = definition.get("outputSchema")
        self._output = None if schema is None else jsonschema_rs.validator_for(schema, retriever=_no_network)
        self._mirrored = (
            {} if find_invalid_x_mcp_header(definition["inputSchema"]) else x_mcp_header_map(definition["inputSchema"])
        )

    async def __call__(self, call: ToolCall, session: Session) -> Message:
        """Call it, and see that what it returns is what its definition promises."""
        result = await self._server.call(
            call,
            session,
            "tools/call",
            {"name": self._name, "arguments": dict(call.arguments)},
            RESULTS["tools/call"],
            pinned=("tools", self._name),
            headers=mcp_param_headers(self._mirrored, call.arguments),
        )
        if self._output is None or result.get("isError") or "resultType" in result:
            return result
        if not self._output.is_valid(result.get("structuredContent")):
            raise errors.UpstreamMalformed(detail="the result is not what the tool's own output schema says")
        return result


def _beside(server: Server, settings: McpSettings, pin: Mapping[str, Any]) -> Iterator[Tool]:
    """Yield what stands behind the server's resources and prompts."""
    completes = "completions" in pin.get("capabilities", ())
    if "resources" in pin.get("capabilities", ()):
        told = {"resources": pin.get("resources", []), "templates": pin.get("templates", [])}
        yield _other(
            "resources", "read", "resource", "Read a resource of the server.", _READ, partial(_read, server), told
        )
        if "subscribe" in pin.get("capabilities", ()):
            words = "Be told of changes of a resource."
            yield _other("resources", "subscribe", "subscription", words, _READ, server.follow, told)
        if completes:
            known = {one["uriTemplate"] for one in told["templates"]} | {one["uri"] for one in told["resources"]}
            yield _completing(server, "resources", "ref/resource", "uri", known)
    if pin.get("prompts"):
        told = {"prompts": pin["prompts"], "own_names": settings.names == "upstream"}
        known = {one["name"] for one in pin["prompts"]}
        yield _other(
            "prompts", "get", "prompt", "Get a prompt of the server.", _GET, partial(_get, server, known), told
        )
        if completes:
            yield _completing(server, "prompts", "ref/prompt", "name", known)


def _completing(server: Server, resource: str, kind: str, key: str, known: set[str]) -> Tool:
    """Return what completes arguments of one kind of reference, and of what is pinned: another's is not its to ask."""
    words = f"Complete an argument of one of the server's {resource}."
    ref = {
        "type": "object",
        "properties": {"type": {"const": kind}, key: _TEXT},
        "required": ["type", key],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"ref": ref, "argument": _ARGUMENT, "context": _CONTEXT},
        "required": ["ref", "argument"],
        "additionalProperties": False,
    }
    return _other(resource, "complete", "completion", words, schema, partial(_complete, server, key, known), {})


def _other(
    resource: str, action: str, serves: Any, words: str, schema: Message, run: Any, told: Mapping[str, Any]
) -> Tool:
    left = _REST["completion" if serves == "completion" else resource]
    return Tool(
        resource=resource,
        action=action,
        description=words,
        input_schema=schema,
        output_schema={**left, "properties": {**left["properties"], **_ASKING}},  # type: ignore[dict-item]
        reads_only=True,
        run=run,
        serves=serves,
        definition=told,
    )


async def _read(server: Server, call: ToolCall, session: Session) -> Message:
    params = {"uri": call.arguments["uri"]}
    return await server.call(call, session, "resources/read", params, RESULTS["resources/read"])


async def _get(server: Server, known: set[str], call: ToolCall, session: Session) -> Message:
    name = call.arguments["name"]
    if name not in known:
        raise errors.UpstreamNotFound("There is no such prompt.")
    params = {"name": name, **({"arguments": call.arguments["arguments"]} if "arguments" in call.arguments else {})}
    return await server.call(call, session, "prompts/get", params, RESULTS["prompts/get"], pinned=("prompts", name))


async def _complete(server: Server, key: str, known: set[str], call: ToolCall, session: Session) -> Message:
    if call.arguments["ref"][key] not in known:
        raise errors.UpstreamNotFound("There is nothing of that name whose arguments could be completed.")
    return await server.call(call, session, "completion/complete", dict(call.arguments), RESULTS["completion/complete"])


def _check_apart(offered: Sequence[Tool]) -> None:
    """Check that policies can tell them apart."""
    by_words: dict[tuple[str, str], Tool] = {}
    for tool in offered:
        other = by_words.setdefault((tool.resource, tool.action), tool)
        if other is not tool:
            raise ValueError(
                f"the tools {other.name!r} and {tool.name!r} would both be {tool.resource} {tool.action} to policies; "
                f"give one another resource or action under settings.tools"
            )


def _no_network(address: str) -> NoReturn:
    raise ValueError(f"it refers to {address}, and checking needs no network")
