"""What agents wait for: requests for approval, listed, shown to those who may decide them, approved and refused."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record, timestamp
from broker.doors.admin.operators import Operators, body
from broker.doors.admin.wanted import Because
from broker.store import ApprovalRow

_MOST = 200


async def approvals(operators: Operators, request: Request, _actor: Record) -> Response:
    """List requests, the newest first: those that wait, or all of them."""
    rows = await operators.approvals.listed(_MOST)
    if request.query_params.get("all") != "1":
        rows = [row for row in rows if _status(row) == "pending"]
    return JSONResponse([shown(row) for row in rows])


async def one(operators: Operators, request: Request, actor: Record) -> Response:
    """Show a request with its exact arguments and its effect, as long as it waits, to those who may decide it."""
    row = await operators.approvals.find(request.path_params["id"])
    whole = await operators.approvals.show(row.id, actor, _owners(operators)) if _status(row) == "pending" else None
    return JSONResponse({**shown(row), "effect": _effect(operators, row), "asked": whole})


async def approve(operators: Operators, request: Request, actor: Record) -> Response:
    """Approve, once, for exactly what was asked."""
    because = Because.model_validate_json(await body(request))
    row = await operators.approvals.decide(
        request.path_params["id"], "approved", because.reason, actor, _owners(operators)
    )
    return JSONResponse(shown(row))


async def refuse(operators: Operators, request: Request, actor: Record) -> Response:
    """Refuse, for good: the same call is refused until the request would have expired."""
    because = Because.model_validate_json(await body(request))
    row = await operators.approvals.decide(
        request.path_params["id"], "refused", because.reason, actor, _owners(operators)
    )
    return JSONResponse(shown(row))


def shown(row: ApprovalRow) -> dict[str, Any]:
    """Return what every operator may see of a request."""
    return {
        "id": row.id,
        "status": _status(row),
        "agent": row.agent,
        "workload": row.workload,
        "owner": row.owner,
        "tool": row.tool,
        "resource": row.resource,
        "action": row.action,
        "by": list(row.roles),
        "exclude_owner": row.exclude_owner,
        "created": row.created,
        "expires": row.expires,
        "call": row.call_id,
        "decided_by": row.actor.get("user") if row.actor is not None else None,
        "reason": row.reason,
        "consumed_by": row.consumed_by,
    }


def _status(row: ApprovalRow) -> str:
    """Return a request's status; what has just expired is not said to wait."""
    late = row.status in {"pending", "approved", "refused"} and row.expires <= timestamp()
    return "expired" if late else row.status


def _effect(operators: Operators, row: ApprovalRow) -> dict[str, Any] | None:
    """Say what the call does, where, as the documents in force say it."""
    documents = operators.documents.current
    tool = documents.catalog.find(row.tool)
    if tool is None:
        return None
    return {
        "description": tool.tool.description,
        "reads_only": tool.tool.reads_only,
        "service": documents.connections[tool.connector].url,
    }


def _owners(operators: Operators) -> Mapping[str, str]:
    agents = operators.documents.current.registry.agents
    return {workload: agent.owner for workload, agent in agents.items()}
