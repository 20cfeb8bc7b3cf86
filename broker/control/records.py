"""What the trail says when people cut agents off and let them back in."""

import json
from collections.abc import Iterable, Sequence

from broker.audit import Record, new_id, timestamp
from broker.identity import Agent
from broker.store import ApprovalRow, Scope, Suspension

_ROOM_FOR_NAMES = 20_000  # bytes in a record, which has its own limit


def suspended(suspension: Suspension, agents: Sequence[Agent], documents: str) -> Record:
    """Say whom an operator has cut off, and why."""
    return {
        "id": new_id(),
        "time": suspension.created,
        "kind": "agent_suspended" if suspension.scope == "agent" else "agents_suspended",
        "actor": dict(suspension.actor),
        "reason": suspension.reason,
        "suspension": suspension.id,
        **_whom(suspension.scope, suspension.subject, agents),
        "documents": documents,
    }


def resumed(
    scope: Scope, subject: str, lifted: Sequence[str], agents: Sequence[Agent], reason: str, actor: Record
) -> Record:
    """Say of whom an operator has lifted which suspensions, and why. Another suspension may still hold."""
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": "agent_resumed" if scope == "agent" else "agents_resumed",
        "actor": dict(actor),
        "reason": reason,
        "lifted": _fitting(lifted),
        **_whom(scope, subject, agents),
    }


def _whom(scope: Scope, subject: str, agents: Sequence[Agent]) -> Record:
    if scope == "agent":
        one = agents[0] if agents else None
        known = {"agent": one.name, "owner": one.owner, "team": one.team} if one else {}
        return {"workload": subject, "registered": bool(one), **known}
    names = [agent.name for agent in agents]
    team = {"team": subject} if scope == "team" else {"all": True}
    return {**team, "agents": {"count": len(names), "listed": _fitting(names)}}


def _fitting(listed: Iterable[str]) -> list[str]:
    fits, room = [], _ROOM_FOR_NAMES
    for one in listed:
        room -= len(json.dumps(one))
        if room < 0:
            break
        fits.append(one)
    return fits


def approval_event(kind: str, row: ApprovalRow, actor: Record | None, reason: str | None = None) -> Record:
    """Say what became of a request for approval; of what was asked, where to find it and its keyed digest."""
    said = {"actor": dict(actor)} if actor is not None else {}
    because = {"reason": reason} if reason is not None else {}
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": kind,
        **said,
        **because,
        "approval": {"id": row.id, "hmac": row.digest, "expires": row.expires, "asked_by_call": row.call_id},
        "agent": row.agent,
        "workload": row.workload,
        "owner": row.owner,
        "tool": row.tool,
    }
