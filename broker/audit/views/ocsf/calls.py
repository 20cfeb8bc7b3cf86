"""A call as API Activity (6003), with the profiles `security_control` and, where it is part of a run, `trace`."""

from typing import Any

from broker.audit.views.entries import UNFINISHED, Entry
from broker.audit.views.ocsf.base import (
    FAILURE,
    HIGH,
    INFORMATIONAL,
    LOW,
    MEDIUM,
    OTHER,
    SUCCESS,
    UNKNOWN,
    Event,
    envelope,
    source,
    status,
)
from broker.audit.views.values import at, listed_at, milliseconds, number_at, text_at

API_ACTIVITY = 6003
_CREATE, _READ, _UPDATE, _DELETE = (1, "Create"), (2, "Read"), (3, "Update"), (4, "Delete")
_ACTIVITIES = {
    **dict.fromkeys(("create", "add", "insert"), _CREATE),
    # An export is a read of much; `api.operation` says which it was
    **dict.fromkeys(("read", "search", "get", "list", "query", "describe", "count", "export", "download"), _READ),
    **dict.fromkeys(("update", "edit", "set", "write", "upsert"), _UPDATE),
    **dict.fromkeys(("delete", "remove", "purge"), _DELETE),
}
_ENDS = {
    "released": (SUCCESS, "Success", INFORMATIONAL),
    "refused": (FAILURE, "Failure", LOW),
    "failed": (FAILURE, "Failure", LOW),
    "withheld": (FAILURE, "Failure", MEDIUM),
    "cancelled": (OTHER, "cancelled", LOW),
    "outcome_unknown": (UNKNOWN, "outcome_unknown", MEDIUM),
    UNFINISHED: (UNKNOWN, UNFINISHED, LOW),
}
_ALLOWED, _DENIED = (1, "Allowed"), (2, "Denied")
_LEAK = "leak_blocked"


def call(entry: Entry) -> Event:
    """Return a call's event. It has an actor, whatever is missing of the call."""
    run = text_at(entry.requested, "run_id")
    activity = _activity(text_at(entry.requested, "action", "action"))
    made = envelope(entry, API_ACTIVITY, *activity, *(("security_control", "trace") if run else ("security_control",)))
    made["unmapped"] |= _unmapped(entry)
    return made | _who(entry) | _what(entry) | _decision(entry) | _end(entry) | {"trace": {"uid": run} if run else None}


def _activity(action: str | None) -> tuple[int, str]:
    if action is None:
        return UNKNOWN, "Unknown"
    return _ACTIVITIES.get(action, (OTHER, action))


def _who(entry: Entry) -> Event:
    """Name the agent as the application that acts, which is the 1.8 way; `user` is who delegated, `idp` who vouched."""
    identity = at(entry.requested, "identity")
    workload, agent = text_at(identity, "spiffe_id"), text_at(identity, "agent")
    delegate = text_at(identity, "on_behalf_of", "sub")
    issuer, vouched = text_at(identity, "on_behalf_of", "iss"), text_at(identity, "issuer")
    named = {"app_uid": workload, "app_name": agent or (None if workload else "unknown")}
    return {
        "actor": {
            **named,
            "user": {"uid": delegate, "domain": issuer} if delegate else None,
            "idp": {"name": vouched, "issuer": vouched} if vouched else None,
        },
        "src_endpoint": source(text_at(entry.requested, "origin", "source")),
    }


def _what(entry: Entry) -> Event:
    said = at(entry.requested, "action")
    resource, operation = text_at(said, "resource"), text_at(said, "action") or text_at(said, "tool")
    connector = text_at(said, "connector")
    return {
        "api": {
            "operation": operation or "unknown",
            "service": {"name": connector} if connector else None,
            "request": {"uid": entry.call_id} if entry.call_id else None,
            "response": {"error": text_at(entry.finished, "outcome", "code")},
        },
        "resources": [{"name": resource, "uid": resource, "type": "Resource"}] if resource else None,
    }


def _decision(entry: Entry) -> Event:
    """Return what was decided, by which policies, and what became of it."""
    rules = [rule for rule in listed_at(entry.decided, "policy", "rules") if text_at(rule, "policy")]
    policies = [_policy(rule) for rule in rules]
    decided = [{"decision": entry.decision, "policy": one} for one in policies] or [{"decision": entry.decision}]
    action, disposition = _control(entry)
    return {
        "action_id": action[0],
        "action": action[1],
        "disposition_id": disposition[0],
        "disposition": disposition[1],
        "policy": policies[0] if policies else None,
        "authorizations": decided if entry.decision else None,
    }


def _policy(rule: Any) -> Event:
    name, place = text_at(rule, "policy"), text_at(rule, "place")
    return {"name": name, "uid": name, "version": text_at(rule, "sha256"), "desc": place, "is_applied": True}


def _control(entry: Entry) -> tuple[tuple[int, str], tuple[int, str]]:
    """Return the profile's action and disposition: whether the call was let through, and what became of its answer."""
    if entry.decision == "deny":
        return _DENIED, (2, "Blocked")
    if entry.status == "refused":
        return _DENIED, (25, "Rejected")
    if entry.status == "withheld":
        return _ALLOWED, (OTHER, "Withheld")
    if entry.decision == "permit":
        return _ALLOWED, (1, "Allowed")
    return (UNKNOWN, "Unknown"), (UNKNOWN, "Unknown")


def _end(entry: Entry) -> Event:
    outcome = at(entry.finished, "outcome")
    code = text_at(outcome, "code")
    status_id, said, severity = _ENDS.get(entry.status or "", (OTHER, entry.status or "unknown", LOW))
    taken = number_at(outcome, "steps_us", "finished")
    finished = text_at(entry.finished, "time")
    return status(status_id, said, code, text_at(outcome, "detail")) | {
        "severity_id": HIGH if code == _LEAK else severity,
        "duration": None if taken is None else taken // 1000,
        "start_time": milliseconds(entry.time) if entry.requested else None,
        "end_time": milliseconds(finished) if finished else None,
        "message": f"{text_at(entry.requested, 'action', 'tool') or 'a call'}: {entry.status}",
    }


def _unmapped(entry: Entry) -> Event:
    """Return what 1.8 has no place for."""
    return {
        "agent": at(entry.requested, "identity"),
        "origin": at(entry.requested, "origin"),
        "documents_sha256": at(entry.requested, "documents"),
        "traceparent": at(entry.requested, "traceparent"),
        "arguments": {
            "bytes": at(entry.requested, "action", "arguments_bytes"),
            "hmac": at(entry.requested, "action", "arguments_hmac"),
        },
        "decision": at(entry.decided, "policy"),
        "credential": at(entry.finished, "credential"),
        "outcome": at(entry.finished, "outcome"),
    }
