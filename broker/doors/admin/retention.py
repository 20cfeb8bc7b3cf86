"""Retention: forget what records said that are past their time, a step at a time."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Filter, Record, timestamp
from broker.doors.admin.operators import Operators, body
from broker.errors import OperatorRequestInvalid
from broker.evidence.pruning import prune


class Pruning(BaseModel):
    """The body of `POST /v1/trail/prune`: one step, from the number `start` on."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    before: Annotated[str, Field(max_length=100)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    start: Annotated[int, Field(ge=0)] = 0
    really: bool = False


async def prune_some(operators: Operators, request: Request, actor: Record) -> Response:
    """Take one step of pruning, or only count what it would forget."""
    wanted = Pruning.model_validate_json(await body(request))
    try:
        before = Filter.parse({"until": wanted.before}).until or ""
    except ValueError:
        raise OperatorRequestInvalid("before is a date or a time with its offset, as 2026-11-24.") from None
    if before > timestamp():
        raise OperatorRequestInvalid("before is in the past: what is to come cannot be past its time.")
    done = await prune(operators.recorder.store, before, wanted.start, wanted.reason, actor, really=wanted.really)
    return JSONResponse(
        {"pruned": done.count, "held": done.held, "reached": done.reached, "size": done.size, "before": before}
    )
