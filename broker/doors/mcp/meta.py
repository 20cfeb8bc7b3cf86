"""Three tools in the place of many: search, describe and call, for agents whose context a whole list would fill.

They show what a list would show, and call as a direct call does: `call_tool` becomes the call that it names before the
pipeline is asked, so that authorisation, refusals and the trail know nothing of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mcp_types as types
import msgspec

from broker.catalog import RESERVED, CatalogTool, found
from broker.errors import InvalidArguments, UnknownTool

SEARCH, DESCRIBE, CALL = RESERVED
_FEW, _MOST = 10, 50
_LONGEST = 300  # characters of a description, in a search
_NAME = {"type": "string", "minLength": 1, "maxLength": 128, "description": "The tool's name, as a search answers it."}


def _tool(name: str, words: str, properties: Mapping[str, Any], *required: str, reads: bool = True) -> types.Tool:
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
    hints = {"readOnlyHint": reads, "destructiveHint": not reads, "openWorldHint": not reads}
    return types.Tool.model_validate({"name": name, "description": words, "inputSchema": schema, "annotations": hints})


DEFINITIONS: tuple[types.Tool, ...] = (
    _tool(
        SEARCH,
        "Search the tools that you may use, by words of what you want to do. Without words, the first of them.",
        {
            "query": {"type": "string", "maxLength": 1000, "description": "As 'read salesforce accounts'."},
            "limit": {"type": "integer", "minimum": 1, "maximum": _MOST, "description": f"{_FEW} if left out."},
        },
    ),
    _tool(DESCRIBE, "Say what a tool does, takes and answers: read it before you call one.", {"name": _NAME}, "name"),
    _tool(
        CALL,
        "Call a tool by its name, with the arguments that its description asks for. The answer is the tool's own.",
        {"name": _NAME, "arguments": {"type": "object", "description": "What the tool takes."}},
        "name",
        reads=False,
    ),
)
"""What such an agent is listed."""

Defined = Callable[[CatalogTool], types.Tool]


def told(
    name: str, arguments: Mapping[str, Any], visible: Sequence[CatalogTool], defined: Defined
) -> types.CallToolResult:
    """Answer a search or a description from what the agent could be listed; raise what refuses it."""
    answer = _searched(arguments, visible, defined) if name == SEARCH else _described(arguments, visible, defined)
    text = msgspec.json.encode(answer).decode()
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=answer)


def called(arguments: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the name and arguments of the call that is meant; raise `InvalidArguments` for what names none."""
    _only(arguments, "name", "arguments")
    inner = arguments.get("arguments", {})
    if not isinstance(inner, Mapping):
        raise InvalidArguments("'arguments' must be an object: what the tool takes.")
    return _named(arguments), inner


def _searched(arguments: Mapping[str, Any], visible: Sequence[CatalogTool], defined: Defined) -> dict[str, Any]:
    _only(arguments, "query", "limit")
    query, limit = arguments.get("query", ""), arguments.get("limit", _FEW)
    if not isinstance(query, str) or type(limit) is not int or not 1 <= limit <= _MOST:
        raise InvalidArguments(f"'query' is a text, and 'limit' a number from 1 to {_MOST}.")
    tools, more = found(visible, query[:1000], limit)
    return {"tools": [_briefly(tool, defined(tool)) for tool in tools], "more": more, "of": len(visible)}


def _briefly(tool: CatalogTool, definition: types.Tool) -> dict[str, Any]:
    words = definition.description or ""
    return {
        "name": tool.name,
        "resource": tool.resource,
        "action": tool.action,
        "reads_only": tool.tool.reads_only,
        "description": words if len(words) <= _LONGEST else words[:_LONGEST] + "…",
    }


def _described(arguments: Mapping[str, Any], visible: Sequence[CatalogTool], defined: Defined) -> dict[str, Any]:
    """Return what a list says of a tool. What is not listed is unknown: a description tells no more than a list."""
    _only(arguments, "name")
    name = _named(arguments)
    tool = next((one for one in visible if one.name == name), None)
    if tool is None:
        raise UnknownTool("There is no such tool for this agent; search_tools finds those that there are.")
    return defined(tool).model_dump(mode="json", by_alias=True, exclude_none=True)


def _named(arguments: Mapping[str, Any]) -> str:
    name = arguments.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidArguments("'name' must be a tool's name, as search_tools answers it.")
    return name


def _only(arguments: Mapping[str, Any], *known: str) -> None:
    if unknown := sorted(str(one)[:60] for one in arguments.keys() - set(known)):
        raise InvalidArguments(f"There is no {unknown[0]!r} here; there is {', '.join(known)}.")
