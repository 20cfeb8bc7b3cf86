"""What policies have recorded encrypted: told of, revealed, erased."""

import dataclasses
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.operators import Operators, body
from broker.doors.admin.wanted import Because, Which, wanted_of
from broker.evidence import erasure, payloads


async def of_call(operators: Operators, request: Request, _actor: Record) -> Response:
    """Tell what is recorded encrypted of a call, and what has been erased."""
    found = await payloads.commitments(operators.recorder.store, request.path_params["call_id"])
    return JSONResponse([dataclasses.asdict(one) for one in found])


async def show(operators: Operators, request: Request, actor: Record) -> Response:
    """Show what is recorded encrypted of a call; that it was shown, to whom and why, is on record first."""
    call_id = request.path_params["call_id"]
    because = Because.model_validate_json(await body(request))
    opened = await payloads.show(operators.recorder, operators.vault, call_id, because.reason, actor)
    values = [{"field": field, "value": msgspec.Raw(text)} for field, text in opened.items()]
    return Response(msgspec.json.encode({"call": call_id, "values": values}), media_type="application/json")


async def matching(operators: Operators, request: Request, _actor: Record) -> Response:
    """Tell what an erasure would come to."""
    given = dict(request.query_params)
    wanted = wanted_of(given.pop("call", None), given)
    return JSONResponse(_shown(await erasure.erasable(operators.recorder.store, wanted)))


async def erase(operators: Operators, request: Request, actor: Record) -> Response:
    """Erase what is recorded encrypted of one call, or of those that match a filter, but for what is held."""
    which = Which.model_validate_json(await body(request))
    erased = await erasure.erase(operators.recorder.store, which.wanted, which.reason, actor)
    return JSONResponse({**_shown(erased), "overwritten": erased.overwritten})


def _shown(found: erasure.Erased) -> dict[str, Any]:
    kept = [{"hold": name, "calls": number} for name, number in sorted(found.kept.items())]
    return {"calls": found.calls, "values": found.values, "kept": kept}
