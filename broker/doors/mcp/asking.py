"""Where a person must approve: clients that can are sent to where people decide; others are told in words.

MCP 2026-07-28, multi round-trip requests: the call is answered with `input_required`, and the client repeats it. What
it sends back is not relied on: what counts is the call itself, and what a person has decided of it.
"""

from typing import Any

import mcp_types as types
from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from broker.doors.mcp.refusals import META, facts
from broker.errors import ApprovalNeeded, Refusal


def asked(
    refusal: Refusal, context: ServerRequestContext[Any, Any], url: str | None
) -> types.InputRequiredResult | None:
    """Return, or raise, what sends a client's user to `url`; None for every other refusal, client and set-up."""
    approval = refusal.facts.get("approval")
    if not isinstance(refusal, ApprovalNeeded) or approval is None or url is None or not _can_open(context):
        return None
    link = url.replace("{id}", approval)
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        params = types.ElicitRequestURLParams(message=refusal.message, url=link)
        return types.InputRequiredResult(
            input_requests={"approval": types.ElicitRequest(params=params)},
            request_state=approval,
            _meta={META + name: value for name, value in facts(refusal).items()},
        )
    params = types.ElicitRequestURLParams(message=refusal.message, url=link, elicitation_id=approval)
    elicitation = params.model_dump(by_alias=True, mode="json", exclude_none=True)
    data = {"elicitations": [elicitation], **facts(refusal)}
    raise MCPError(types.URL_ELICITATION_REQUIRED, refusal.message, data=data) from None


def _can_open(context: ServerRequestContext[Any, Any]) -> bool:
    """Tell whether the client says that it shows its user a URL."""
    capabilities = context.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    return elicitation is not None and elicitation.url is not None
