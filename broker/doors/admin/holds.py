"""Legal holds: put on what matches, listed, released."""

import asyncio
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.operators import Operators, body
from broker.doors.admin.wanted import Because, Which
from broker.evidence import holds as evidence
from broker.store import Hold


class NewHold(Which):
    """The body of `POST /v1/trail/holds`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$", examples=["case-2026-17"])]


async def holds(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List every hold, also those that were released, the newest first."""
    store = operators.recorder.store
    return JSONResponse([_shown(hold) for hold in await asyncio.to_thread(store.read, store.holds.all)])


async def add(operators: Operators, request: Request, actor: Record) -> Response:
    """Put a hold on one call, or on what matches a filter, now or later."""
    wanted = NewHold.model_validate_json(await body(request))
    hold = await evidence.add(operators.recorder.store, wanted.name, wanted.wanted, wanted.reason, actor)
    return JSONResponse(_shown(hold), status_code=201)


async def release(operators: Operators, request: Request, actor: Record) -> Response:
    """End a hold."""
    because = Because.model_validate_json(await body(request))
    name = request.path_params["name"]
    return JSONResponse(_shown(await evidence.release(operators.recorder.store, name, because.reason, actor)))


def _shown(hold: Hold) -> dict[str, Any]:
    return {
        "name": hold.name,
        "id": hold.id,
        "filter": dict(hold.wanted),
        "reason": hold.reason,
        "created": hold.created,
        "released": hold.released,
    }
