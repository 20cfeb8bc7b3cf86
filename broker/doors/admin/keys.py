"""Access keys: issued for one agent and shown once, listed, revoked."""

import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.operators import Operators, body
from broker.doors.admin.wanted import Because
from broker.errors import NotFound
from broker.store import AccessKeyRow


class NewKey(BaseModel):
    """The body of `POST /v1/keys`."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    agent: Annotated[str, Field(min_length=1, max_length=2048)]
    label: Annotated[str, Field(max_length=200)] = ""
    days: Annotated[int, Field(ge=1, le=365)] = 90


async def keys(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List what may be shown of every key."""
    return JSONResponse([_shown(operators, row) for row in operators.access_keys.all()])


async def add(operators: Operators, request: Request, actor: Record) -> Response:
    """Issue a key; this answer is the only place where it ever stands."""
    wanted = NewKey.model_validate_json(await body(request))
    agent = _agent(operators, wanted.agent)
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    text, row = await operators.access_keys.add(
        agent[0], agent[1], wanted.label, now + datetime.timedelta(days=wanted.days), actor
    )
    shown = {"key": text, **_shown(operators, row)}
    return JSONResponse(shown, status_code=201, headers={"Cache-Control": "no-store"})


async def revoke(operators: Operators, request: Request, actor: Record) -> Response:
    """End a key."""
    because = Because.model_validate_json(await body(request))
    row = await operators.access_keys.revoke(request.path_params["id"], because.reason, actor)
    return JSONResponse(_shown(operators, row))


def _agent(operators: Operators, name: str) -> tuple[str, str]:
    for agent in operators.documents.current.registry.agents.values():
        if name in {agent.name, agent.workload}:
            return agent.name, agent.workload
    raise NotFound(f"There is no agent {name!r}.")


def _shown(operators: Operators, row: AccessKeyRow) -> dict[str, Any]:
    agent = operators.documents.current.registry.agents.get(row.workload)
    is_over = datetime.datetime.fromisoformat(row.expires) <= datetime.datetime.now(datetime.UTC)
    return {
        "id": row.id,
        "agent": agent.name if agent else None,
        "workload": row.workload,
        "label": row.label,
        "status": "revoked" if row.revoked else "expired" if is_over else "active",
        "created": row.created,
        "created_by": row.created_by,
        "expires": row.expires,
        "revoked": row.revoked,
    }
