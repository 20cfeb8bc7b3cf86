"""Refusals in MCP's words: which are protocol errors, which are results that an agent can act on."""

import mcp_types as types
from mcp.shared.exceptions import MCPError

from broker.errors import AgentBarred, Refusal, Unauthenticated, UnknownTool

META = "dev.envisionai.access/"
"""Prefix of our keys in `_meta`."""

_LONGEST_MESSAGE = 2000  # characters; what does not fit a schema is quoted in its refusal
NOT_ADMITTED = -32001  # JSON-RPC 2.0 §5.1 leaves -32000 to -32099 to servers


def as_error(refusal: Refusal) -> MCPError:
    """Return the protocol error for a refusal that is one."""
    code = types.INVALID_PARAMS if isinstance(refusal, UnknownTool) else NOT_ADMITTED
    return MCPError(code, refusal.message, data=facts(refusal))


def as_result(refusal: Refusal) -> types.CallToolResult:
    """Return a refusal as a tool's result, or raise it if it is a protocol error.

    Never in `structuredContent`: some clients check that against the tool's output schema even for errors.
    """
    if isinstance(refusal, UnknownTool | Unauthenticated | AgentBarred):
        raise as_error(refusal) from None
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
