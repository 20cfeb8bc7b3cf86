"""What models may cost and have cost: how budgets stand, what was spent by whom, raises, and overruns."""

import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record, timestamp
from broker.budget import nanos, usd
from broker.control import Standing
from broker.documents.words import nearest
from broker.doors.admin.operators import Operators, body
from broker.doors.admin.wanted import Because
from broker.errors import NotFound, OperatorRequestInvalid
from broker.policy.rule import Moment
from broker.policy.spending import LARGEST_USD, Whose
from broker.store import SPENT_BY, RaiseRow, SpentRow

_Name = Annotated[str, Field(min_length=1, max_length=2048)]
_MOST_PAST = 400
_MONTH = datetime.timedelta(days=30)


class Raise(Because):
    """The body of `POST /v1/budgets/raise`: whose budget, for which period, by how much, until when, and why."""

    agent: _Name | None = None
    team: _Name | None = None
    owner: _Name | None = None
    organisation: Literal[True] | None = None
    period: Literal["day", "week", "month"]
    by_usd: Annotated[Decimal, Field(gt=0, le=LARGEST_USD)]
    until: Moment

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(one is not None for one in (self.agent, self.team, self.owner, self.organisation)) != 1:
            raise ValueError("name an agent, a team, an owner, or the organisation: one of them")
        return self


class Spent(BaseModel):
    """The query of `GET /v1/spend`."""

    model_config = ConfigDict(extra="forbid")

    by: Annotated[list[Literal["agent", "team", "owner", "route", "provider", "model", "day"]], Field(max_length=7)]
    since: Moment
    until: Moment
    agent: _Name | None = None
    team: _Name | None = None
    owner: _Name | None = None
    route: _Name | None = None
    provider: _Name | None = None
    model: _Name | None = None


async def budgets(operators: Operators, request: Request, _actor: Record) -> Response:
    """Show how every budget stands; with `past`, also so many windows of each."""
    past = request.query_params.get("past", "0")
    if not (past.isascii() and past.isdecimal() and int(past) <= _MOST_PAST):
        raise OperatorRequestInvalid(f"'past' is a number up to {_MOST_PAST}.")
    names = {agent.workload: agent.name for agent in operators.documents.current.registry.agents.values()}
    return JSONResponse([_shown(one, names) for one in await operators.budgets.standings(int(past))])


async def raises(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List the raises in force, the oldest first."""
    return JSONResponse([_raise(row) for row in await operators.budgets.raises()])


async def raise_budget(operators: Operators, request: Request, actor: Record) -> Response:
    """Raise a budget for a time; it ends by itself."""
    wanted = Raise.model_validate_json(await body(request))
    whose, name = _meant(operators, wanted)
    row = await operators.budgets.raise_for_a_time(
        whose, name, wanted.period, nanos(wanted.by_usd), wanted.until, wanted.reason, actor
    )
    return JSONResponse(_raise(row), status_code=201)


async def withdraw(operators: Operators, request: Request, actor: Record) -> Response:
    """End a raise before its time."""
    because = Because.model_validate_json(await body(request))
    row = await operators.budgets.withdraw(request.path_params["id"], because.reason, actor)
    return JSONResponse(_raise(row))


async def overruns(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List the overruns that nobody has looked at, the oldest first."""
    found = await operators.budgets.overruns()
    return JSONResponse(
        [
            {
                **one,
                **{f"{name}_usd": usd(one.pop(name)) for name in ("amount", "cost", "overrun")},
                "settled": timestamp(one.pop("settled")),
            }
            for one in found
        ]
    )


async def acknowledge(operators: Operators, request: Request, actor: Record) -> Response:
    """Note that somebody has looked at an overrun: its target is used again."""
    because = Because.model_validate_json(await body(request))
    await operators.budgets.acknowledge(request.path_params["id"], because.reason, actor)
    return JSONResponse({"acknowledged": request.path_params["id"]})


async def spend(operators: Operators, request: Request, _actor: Record) -> Response:
    """Sum up what models have cost, by what is asked for, the dearest first."""
    asked = request.query_params
    now = datetime.datetime.now(datetime.UTC)
    given: dict[str, Any] = {name: value for name, value in asked.items() if name != "by"}
    given = {"since": now - _MONTH, "until": now + datetime.timedelta(seconds=1), **given}
    wanted = Spent.model_validate({**given, "by": [one for one in asked.get("by", "").split(",") if one]})
    equal = {name: value for name in SPENT_BY if (value := getattr(wanted, name, None)) is not None}
    since, until = int(wanted.since.timestamp()), int(wanted.until.timestamp())
    rows = await operators.budgets.spent(tuple(wanted.by), {"since": since, "until": until, **equal})
    return JSONResponse(
        {
            "since": timestamp(since),
            "until": timestamp(until),
            "by": list(wanted.by),
            "rows": [_spent(row) for row in rows],
        }
    )


def _meant(operators: Operators, wanted: Raise) -> tuple[Whose, str]:
    if wanted.agent is not None:
        agents = operators.documents.current.registry.agents.values()
        for agent in agents:
            if wanted.agent in {agent.name, agent.workload}:
                return "agent", agent.workload
        known = [word for agent in agents for word in (agent.name, agent.workload)]
        raise NotFound(f"There is no agent {wanted.agent!r}{nearest(wanted.agent, known)}.")
    if wanted.team is not None:
        return "team", wanted.team
    return ("organisation", "") if wanted.owner is None else ("owner", wanted.owner)


def _shown(one: Standing, names: dict[str, str]) -> dict[str, Any]:
    cap = one.cap
    return {
        "of": cap.whose,
        "name": names.get(cap.name, cap.name),
        "workload": cap.name if cap.whose == "agent" else None,
        "period": cap.period,
        "time_zone": cap.zone,
        "source": cap.source,
        "limit_usd": usd(one.limit),
        "raised_usd": usd(one.limit - cap.amount),
        "spent_usd": usd(one.spent),
        "held_usd": usd(one.held),
        "left_usd": usd(one.left),
        "percent": [one.spent * 100 // max(one.limit, 1), one.held * 100 // max(one.limit, 1)],
        "resets_at": one.window.resets_at,
        "on_insufficient": "clamp" if cap.clamp else "reject",
        "past": [{"start": timestamp(start), "spent_usd": usd(spent)} for start, _, spent in one.past],
    }


def _raise(row: RaiseRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "of": row.whose,
        "name": row.name,
        "period": row.period,
        "by_usd": usd(row.amount),
        "until": timestamp(row.until),
        "by": row.actor.get("user"),
        "reason": row.reason,
    }


def _spent(row: SpentRow) -> dict[str, Any]:
    return {
        **row.of,
        "cost_usd": usd(row.cost),
        "calls": row.calls,
        "input_tokens": row.input_tokens,
        "cached_tokens": row.cache_read,
        "output_tokens": row.output_tokens,
        "reasoning_tokens": row.reasoning,
        "at_upper_bound": row.bounded,
        "unpriced": row.unpriced,
    }
