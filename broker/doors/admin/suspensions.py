"""The kill switch in operators' hands: cut off an agent, a team or everybody, and let them back in."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record, new_id, timestamp
from broker.documents.words import nearest
from broker.doors.admin.operators import Operators, body
from broker.doors.admin.wanted import Because
from broker.errors import AgentBarred, NotFound
from broker.identity import Agent, SpiffeId
from broker.store import Scope, Suspension

_Name = Annotated[str, Field(min_length=1, max_length=2048)]
_MOST_NAMED = 200


class Whom(Because):
    """A body that says who is meant: one agent, by name or workload; one team; or all. And why."""

    agent: _Name | None = None
    team: _Name | None = None
    all: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(one is not None for one in (self.agent, self.team, self.all)) != 1:
            raise ValueError("name an agent, a team, or all: one of them")
        return self


class WhomToSuspend(Whom):
    """The body of `POST /v1/agents/suspend`."""

    unregistered: bool = False
    """Whether a workload or team may be meant that no Agent document names yet."""


async def suspensions(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List what operators have said and not taken back, the oldest first."""
    return JSONResponse([_with_agents(operators, one) for one in operators.switch.in_force])


async def suspend(operators: Operators, request: Request, actor: Record) -> Response:
    """Cut off: from now on, durable, and everything open is ended before this is answered."""
    whom = WhomToSuspend.model_validate_json(await body(request))
    scope, subject, name = _meant(operators, whom, unregistered=whom.unregistered)
    members = [agent.workload for agent in _agents(operators) if scope == "team" and agent.team == subject]
    suspension = Suspension(new_id(), scope, subject, name, tuple(members), whom.reason, actor, timestamp())
    await operators.switch.suspend(suspension, operators.cut)
    return JSONResponse(_with_agents(operators, suspension), status_code=201)


async def resume(operators: Operators, request: Request, actor: Record) -> Response:
    """Take back what operators have said of one agent, one team or all; and tell who may not call even so."""
    whom = Whom.model_validate_json(await body(request))
    scope, subject, _ = _meant(operators, whom, unregistered=True)
    meant = [agent for agent in _agents(operators) if _is_meant(agent, scope, subject)]
    lifted = await operators.switch.resume(scope, subject, whom.reason, actor)
    barred = [(agent, code) for agent in meant if (code := _code(operators, agent)) is not None]
    named = [_still(operators, agent, code) for agent, code in barred[:_MOST_NAMED]]
    return JSONResponse({"lifted": lifted, "agents": len(meant), "barred": len(barred), "still": named})


def shown(one: Suspension) -> dict[str, Any]:
    """Return what is shown of a suspension."""
    return {
        "id": one.id,
        "scope": one.scope,
        "subject": one.subject,
        "name": one.name,
        "reason": one.reason,
        "by": one.actor.get("user"),
        "since": one.created,
    }


def _with_agents(operators: Operators, one: Suspension) -> dict[str, Any]:
    agents = [agent.name for agent in operators.switch.agents_of(one)]
    return {**shown(one), "count": len(agents), "agents": agents[:_MOST_NAMED]}


def _meant(operators: Operators, whom: Whom, *, unregistered: bool) -> tuple[Scope, str, str | None]:
    """Return scope, subject and the agent's name; raise `NotFound` for what is probably a typing mistake."""
    if whom.agent is not None:
        return _agent_meant(operators, whom.agent, unregistered=unregistered)
    if whom.team is None:
        return "all", "", None
    teams = {agent.team for agent in _agents(operators)}
    if whom.team not in teams and not unregistered:
        raise NotFound(f"No agent is of a team {whom.team!r}{nearest(whom.team, teams)}. {_FOR_LATER}")
    return "team", whom.team, None


_FOR_LATER = "Nobody was suspended; for one that is to be registered yet, say so: --unregistered."


def _agent_meant(operators: Operators, named: str, *, unregistered: bool) -> tuple[Scope, str, str | None]:
    agents = _agents(operators)
    for agent in agents:
        if named in {agent.name, agent.workload}:
            return "agent", agent.workload, agent.name
    for one in operators.switch.in_force:  # of one that is registered no more
        if one.scope == "agent" and named in {one.subject, one.name}:
            return "agent", one.subject, one.name
    known = [word for agent in agents for word in (agent.name, agent.workload)]
    try:
        workload = str(SpiffeId.parse(named))
    except ValueError:
        raise NotFound(f"There is no agent {named!r}{nearest(named, known)}.") from None
    if not unregistered:
        raise NotFound(f"No agent is registered as {named}{nearest(named, known)}. {_FOR_LATER}")
    return "agent", workload, None


def _agents(operators: Operators) -> list[Agent]:
    return sorted(operators.documents.current.registry.agents.values(), key=lambda agent: agent.name)


def _is_meant(agent: Agent, scope: Scope, subject: str) -> bool:
    return scope == "all" or subject == (agent.workload if scope == "agent" else agent.team)


def _code(operators: Operators, agent: Agent) -> str | None:
    try:
        operators.switch.standing(agent.workload)
    except AgentBarred as barred:
        return barred.code
    return None


def _still(operators: Operators, agent: Agent, code: str) -> dict[str, Any]:
    """Say what keeps an agent out: what its document says, or another suspension."""
    return {
        "agent": agent.name,
        "code": code,
        "document": agent.status,
        "suspensions": [shown(one) for one in operators.switch.suspensions_of(agent)],
    }
