"""Refusals in MCP's words: which are protocol errors, which are results that an agent can act on."""

from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError, UrlElicitationRequiredError

from broker.errors import AgentBarred, Refusal, Unauthenticated, UnknownTool

META = "dev.envisionai.access/"
"""Prefix of our keys in `_meta`."""

_LONGEST_MESSAGE = 2000  # characters; what does not fit a schema is quoted in its refusal
NOT_ADMITTED = -32001  # JSON-RPC 2.0 §5.1 leaves -32000 to -32099 to servers


def as_error(refusal: Refusal) -> MCPError:
    """Return the protocol error for a refusal that is one."""
    code = types.INVALID_PARAMS if isinstance(refusal, UnknownTool) else NOT_ADMITTED
    return MCPError(code, refusal.message, data=_facts(refusal))


def as_question(refusal: Refusal, capabilities: types.ClientCapabilities | None, *, modern: bool) -> Any:
    """Return what asks a person to open a link, where the client can show them one; None where it cannot.

    On the older wires, it is raised: the protocol has an error of its own for it.
    """
    url, elicitation = refusal.facts.get("consent_url"), capabilities.elicitation if capabilities else None
    if url is None or elicitation is None or elicitation.url is None:
        return None
    asked = types.ElicitRequestURLParams(
        mode="url", url=url, message="Connect your own account, so that the agent can go on.",
        elicitation_id=refusal.call_id or "consent",
    )  # fmt: skip
    if not modern:
        raise UrlElicitationRequiredError([asked], f"{refusal.message} [{refusal.code}]") from None
    # The result carries no state: the retried call stands by itself
    return types.InputRequiredResult(input_requests={"consent": types.ElicitRequest(params=asked)})


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
        _meta={META + name: value for name, value in _facts(refusal).items()},
    )


def _facts(refusal: Refusal) -> dict[str, str]:
    facts = {"code": refusal.code}
    if refusal.call_id is not None:
        facts["call_id"] = refusal.call_id
    if "consent_url" in refusal.facts:
        facts["consent_url"] = refusal.facts["consent_url"]
    return facts
