"""What is registered: agents, the tools each can know of, and what the broker is doing."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.control import KillSwitch
from broker.documents import Snapshot
from broker.doors.admin.operators import Operators
from broker.doors.admin.suspensions import shown
from broker.doors.mcp.narrowed import said
from broker.errors import AgentBarred, NotFound
from broker.identity import Agent


async def status(operators: Operators, _request: Request, _actor: Record) -> Response:
    """Say what the broker is doing, and what of it somebody must look at."""
    return JSONResponse({**operators.status(), **await operators.metrics.noticed()})


async def agents(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List the registered agents."""
    documents = operators.documents.current
    return JSONResponse(
        [
            {
                "name": agent.name,
                "workload": agent.workload,
                "owner": agent.owner,
                "team": agent.team,
                "environment": agent.environment,
                "deployment": agent.deployment,
                "status": agent.status,
                **_effective(operators.switch, agent),
                "valid_until": agent.valid_until.isoformat() if agent.valid_until else None,
                "policies": list(documents.policy_names.get(agent.workload, ())),
                "tools": len(documents.visible.get(agent.workload, ())),
            }
            for agent in sorted(documents.registry.agents.values(), key=lambda agent: agent.name)
        ]
    )


async def tools(operators: Operators, request: Request, _actor: Record) -> Response:
    """List the tools on the resources that an agent's policies mention."""
    documents = operators.documents.current
    workload = _workload(documents, request.query_params.get("as", ""))
    policies = documents.policies_of(workload)
    visible = set(documents.visible.get(workload, ()))
    return JSONResponse(
        [
            {
                "name": tool.name,
                "resource": tool.resource,
                "action": tool.action,
                "description": tool.tool.description,
                "reads_only": tool.tool.reads_only,
                "listed": tool in visible,
                "permitted": policies.could_permit(tool.resource, tool.action),
                "built": tool.tool.run is not None,
                "narrowed": said(policies.narrowing(tool.resource, tool.action)).strip(),
            }
            for tool in documents.catalog
            if policies.mentions(tool.resource)
        ]
    )


def _effective(switch: KillSwitch, agent: Agent) -> dict[str, Any]:
    """Say what an agent's status comes to, and why: its document and the operators both count."""
    effective, said = "active", [shown(one) for one in switch.suspensions_of(agent)]
    try:
        switch.standing(agent.workload)
    except AgentBarred as barred:
        effective = barred.code.removeprefix("agent_")
    return {"effective": effective, "suspensions": said}


def _workload(documents: Snapshot, name: str) -> str:
    for agent in documents.registry.agents.values():
        if name in {agent.name, agent.workload}:
            return agent.workload
    raise NotFound(f"There is no agent {name!r}.")
