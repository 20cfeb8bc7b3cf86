"""Refusals in the words of each API: so that its clients raise what they raise, and repeat only what can succeed."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from broker.errors import AgentBarred, Refusal, Unauthenticated

Shape = Literal["openai", "anthropic", "responses"]
_IDS = ("x-aam-call-id", "x-request-id", "request-id", "x-generation-id")  # ours, OpenAI's, Anthropic's, OpenRouter's
_LONGEST = 2000  # characters of a message

# code -> (HTTP status, OpenAI's type, Anthropic's type, the word that gateways of models use for it)
_INVALID = ("invalid_request_error", "invalid_request_error")
_KINDS: dict[str, tuple[int, str, str, str]] = {
    "unknown_model": (404, "invalid_request_error", "not_found_error", "model_not_found"),
    "unknown_generation": (404, "invalid_request_error", "not_found_error", "not_found"),
    "unknown_api": (404, "invalid_request_error", "not_found_error", "not_found"),
    "model_request_invalid": (400, *_INVALID, "invalid_request"),
    "model_field_refused": (400, *_INVALID, "unsupported_parameter"),
    "model_api_refused": (400, *_INVALID, "unsupported_api"),
    "reasoning_contradictory": (400, *_INVALID, "invalid_request"),
    "reasoning_unavailable": (400, *_INVALID, "unsupported_parameter"),
    "model_request_rejected": (400, *_INVALID, "invalid_request"),
    "arguments_too_large": (413, "invalid_request_error", "request_too_large", "payload_too_large"),
    "context_length_exceeded": (400, *_INVALID, "context_length_exceeded"),
    "model_content_refused": (400, *_INVALID, "content_policy_violation"),
    "access_denied": (403, "permission_error", "permission_error", "permission_denied"),
    "condition_failed": (403, "permission_error", "permission_error", "permission_denied"),
    "approval_needed": (403, "permission_error", "permission_error", "permission_denied"),
    "consent_needed": (403, "permission_error", "permission_error", "permission_denied"),
    "budget_exhausted": (402, "insufficient_quota", "billing_error", "payment_required"),
    "price_unknown": (402, "insufficient_quota", "billing_error", "payment_required"),
    "target_overran": (402, "insufficient_quota", "billing_error", "payment_required"),
    "budget_held": (429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
    "limit_reached": (429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
    "too_many_calls": (429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
    "too_many_connections": (429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
    "upstream_busy": (429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
    "model_unavailable": (503, "server_error", "overloaded_error", "provider_unavailable"),
    "upstream_unreachable": (503, "server_error", "overloaded_error", "provider_unavailable"),
    "draining": (503, "server_error", "overloaded_error", "gateway_unavailable"),
    "audit_unavailable": (503, "server_error", "api_error", "gateway_unavailable"),
    "upstream_timeout": (504, "server_error", "timeout_error", "provider_timeout"),
    "stream_broken": (502, "server_error", "api_error", "provider_failed"),
    "stream_truncated": (502, "server_error", "api_error", "stream_truncated"),
    "output_over_cap": (502, "server_error", "api_error", "output_over_cap"),
}
_PROOF = (401, "authentication_error", "authentication_error", "unauthenticated")
_BARRED = (403, "permission_error", "permission_error", "permission_denied")
_OTHER = (502, "server_error", "api_error", "provider_failed")
_MAY_REPEAT = frozenset({429, 503})
_LONGEST_WAIT = 60  # seconds: what is further off SDKs do not wait for, and repeat at once instead
_TOLD = ("resets_at", "affordable_output_tokens", "budget", "consent_url", "approval")


def kind_of(refusal: Refusal) -> tuple[int, str, str, str]:
    """Return the HTTP status of a refusal, and what each API and gateway calls it."""
    if isinstance(refusal, Unauthenticated):
        return _PROOF
    if isinstance(refusal, AgentBarred):
        return _BARRED
    return _KINDS.get(refusal.code, _OTHER)


def body_of(refusal: Refusal, shape: Shape) -> bytes:
    """Return a refusal as the body of an answer."""
    return msgspec.json.encode(_said(refusal, shape))


def event_of(refusal: Refusal, shape: Shape) -> bytes:
    """Return a refusal as the last event of a stream that is not whole."""
    said = _said(refusal, shape)
    if shape == "openai":
        return b"data: " + msgspec.json.encode(said) + b"\n\n"
    if shape == "responses":  # the API's own event is flat; its client looks for `error`, too
        error = said["error"]
        flat = {name: error[name] for name in ("code", "message", "param")}
        said = {"type": "error", "sequence_number": 0, **flat, **said}
    return b"event: error\ndata: " + msgspec.json.encode(said) + b"\n\n"


def headers_of(refusal: Refusal) -> Mapping[str, str]:
    """Return the headers that tell a client whether, and when, to ask again."""
    status = kind_of(refusal)[0]
    wait = refusal.facts.get("retry_after")
    never = "retry_after" in refusal.facts and wait is None
    repeat = status in _MAY_REPEAT and not never and (wait or 0) <= _LONGEST_WAIT
    headers: dict[str, str] = {"x-should-retry": "true" if repeat else "false"}
    if wait is not None:
        headers["retry-after"] = str(wait)
    if isinstance(refusal, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if refusal.call_id is not None:
        headers |= named(refusal.call_id)
    return headers


def named(call_id: str) -> dict[str, str]:
    """Return the headers in which each API's clients look for the id of a request: it leads to the call."""
    return dict.fromkeys(_IDS, call_id)


def _said(refusal: Refusal, shape: Shape) -> dict[str, Any]:
    status, openai, anthropic, word = kind_of(refusal)
    message = f"{refusal.message[:_LONGEST]} [{refusal.code}]"
    metadata: dict[str, Any] = {"error_type": word, "status": status}
    metadata |= {name: refusal.facts[name] for name in _TOLD if refusal.facts.get(name) is not None}
    if refusal.facts.get("retry_after") is not None:
        metadata["retry_after"] = refusal.facts["retry_after"]
    if refusal.call_id is not None:
        metadata["call_id"] = refusal.call_id
    if shape == "anthropic":
        error = {"type": anthropic, "message": message, "code": refusal.code, "metadata": metadata}
        return {"type": "error", "error": error, "request_id": refusal.call_id}
    field = refusal.facts.get("field")
    return {"error": {"message": message, "type": openai, "param": field, "code": refusal.code, "metadata": metadata}}
