"""Refusals in MCP's words: which are protocol errors, which are results that an agent can act on."""

from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from broker.errors import (
    AgentBarred,
    ClientCannot,
    CursorInvalid,
    InvalidArguments,
    Refusal,
    RequestStateInvalid,
    Unauthenticated,
    UnknownTool,
    UpstreamNotFound,
    UpstreamRejected,
)

META = "dev.envisionai.access/"
"""Prefix of our keys in `_meta`."""

_LONGEST_MESSAGE = 2000  # characters; what does not fit a schema is quoted in its refusal
RESOURCE_NOT_FOUND = -32002  # until 2026-07-28
LACKS_CAPABILITY = -32021  # MCP 2026-07-28
NOT_ADMITTED = -32001  # JSON-RPC 2.0 §5.1 leaves -32000 to -32099 to servers
_WRONG = (UnknownTool, UpstreamNotFound, InvalidArguments, CursorInvalid, UpstreamRejected, RequestStateInvalid)
"""What is wrong with what was asked for: MCP has a code for that."""


def as_error(refusal: Refusal) -> MCPError:
    """Return the protocol error for a refusal that is one."""
    code = types.INVALID_PARAMS if isinstance(refusal, UnknownTool | RequestStateInvalid) else NOT_ADMITTED
    return MCPError(code, refusal.message, data=facts(refusal))


def as_plain_error(refusal: Refusal, protocol: str, **more: str) -> MCPError:
    """Return the protocol error for a refusal of what has no results that could say so: a read, a prompt, a list."""
    words, data = f"{refusal.message[:_LONGEST_MESSAGE]} [{refusal.code}]", {**facts(refusal), **more}
    if isinstance(refusal, UpstreamNotFound) and protocol not in MODERN_PROTOCOL_VERSIONS:
        return MCPError(RESOURCE_NOT_FOUND, words, data=data)
    return MCPError(types.INVALID_PARAMS if isinstance(refusal, _WRONG) else NOT_ADMITTED, words, data=data)


def as_result(refusal: Refusal) -> types.CallToolResult:
    """Return a refusal as a tool's result, or raise it if it is a protocol error.

    Never in `structuredContent`: some clients check that against the tool's output schema even for errors.
    """
    if isinstance(refusal, UnknownTool | Unauthenticated | AgentBarred | RequestStateInvalid):
        raise as_error(refusal) from None
    if isinstance(refusal, ClientCannot) and refusal.facts.get("needs"):
        needed: dict[str, Any] = {name: {} for name in refusal.facts["needs"]}
        words = f"{refusal.message} [{refusal.code}]"
        raise MCPError(LACKS_CAPABILITY, words, data={"requiredCapabilities": needed, **facts(refusal)}) from None
    text = f"{refusal.message[:_LONGEST_MESSAGE]} [{refusal.code}]"
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        is_error=True,
        _meta={META + name: value for name, value in facts(refusal).items()},
    )


def facts(refusal: Refusal) -> dict[str, str | int]:
    """Return what programs are told of a refusal, besides its words."""
    said: dict[str, str | int] = {"code": refusal.code}
    if "retry_after" in refusal.facts:  # seconds
        said["retry_after"] = int(refusal.facts["retry_after"])
    if refusal.call_id is not None:
        said["call_id"] = refusal.call_id
    if "approval" in refusal.facts:
        said["approval"] = refusal.facts["approval"]
    if "consent_url" in refusal.facts:
        said["consent_url"] = refusal.facts["consent_url"]
    return said
