"""Where a person must act: clients that can show them a link do; others are told in words.

A person approves a call, or connects an account of their own. MCP 2026-07-28, multi round-trip requests: the call is
answered with `input_required`, and the client repeats it. What it sends back is not relied on: what counts is the call
itself, and what the person has done.
"""

from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from broker.doors.mcp.refusals import META, facts
from broker.errors import ApprovalNeeded, Refusal

_OURS = "aam:"  # before a state that says nothing to a server behind the tool


def for_the_server(answers: Any, state: str | None) -> tuple[Any, str | None]:
    """Return what a client answers to a server behind the tool: not what it answers to a question of ours."""
    return (None, None) if state is not None and state.startswith(_OURS) else (answers, state)


@dataclass(frozen=True, slots=True)
class _Question:
    """A link for a person, under a name and the id of what it is about."""

    name: str
    id: str
    url: str
    words: str


def asked(
    refusal: Refusal, context: ServerRequestContext[Any, Any], approvals_url: str | None
) -> types.InputRequiredResult | None:
    """Return, or raise, what sends a client's user to a link; None for every other refusal, client and set-up."""
    question = _question(refusal, approvals_url)
    if question is None or not _can_open(context):
        return None
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        params = types.ElicitRequestURLParams(message=question.words, url=question.url)
        return types.InputRequiredResult(
            input_requests={question.name: types.ElicitRequest(params=params)},
            request_state=_OURS + question.id,
            _meta={META + name: value for name, value in facts(refusal).items()},
        )
    params = types.ElicitRequestURLParams(message=question.words, url=question.url, elicitation_id=question.id)
    elicitation = params.model_dump(by_alias=True, mode="json", exclude_none=True)
    data = {"elicitations": [elicitation], **facts(refusal)}
    words = f"{refusal.message} [{refusal.code}]"
    raise MCPError(types.URL_ELICITATION_REQUIRED, words, data=data) from None


def _question(refusal: Refusal, approvals_url: str | None) -> _Question | None:
    consent, approval = refusal.facts.get("consent_url"), refusal.facts.get("approval")
    if consent is not None:
        words = "Connect your own account, so that the agent can go on."
        return _Question("consent", refusal.call_id or "consent", consent, words)
    if isinstance(refusal, ApprovalNeeded) and approval is not None and approvals_url is not None:
        return _Question("approval", approval, approvals_url.replace("{id}", approval), refusal.message)
    return None


def _can_open(context: ServerRequestContext[Any, Any]) -> bool:
    """Tell whether the client says that it shows its user a URL."""
    capabilities = context.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    return elicitation is not None and elicitation.url is not None
