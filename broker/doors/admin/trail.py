"""The trail: read, follow one call, export it all."""

import asyncio
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from broker.audit import Record, Statement
from broker.doors.admin.operators import Operators
from broker.errors import NotFound, OperatorRequestInvalid

_CHUNK = 1 << 16
_MOST_RECORDS = 1000


async def trail(operators: Operators, request: Request, _actor: Record) -> Response:
    """Return records: the last few, or those after a number."""
    store = operators.recorder.store
    head = store.commits.values[store.trail.HEAD]
    last = min(_number(request, "last", 20), _MOST_RECORDS)
    after = _number(request, "after", head.size - last - 1)
    start = max(after + 1, 0)
    stop = min(head.size, start + _MOST_RECORDS)
    bodies = await asyncio.to_thread(store.read, lambda connection: list(store.trail.bodies(connection, start, stop)))
    return Response(b"[" + b",".join(bodies) + b"]", media_type="application/json")


async def call(operators: Operators, request: Request, _actor: Record) -> Response:
    """Return the records of one call."""
    store = operators.recorder.store
    call_id = request.path_params["call_id"]
    bodies = await asyncio.to_thread(store.read, lambda connection: store.trail.of_call(connection, call_id))
    if not bodies:
        raise NotFound(f"There is no call {call_id!r} in the trail.")
    return Response(b"[" + b",".join(bodies) + b"]", media_type="application/json")


async def export(operators: Operators, request: Request, actor: Record) -> Response:
    """Stream the whole log up to now, behind a statement of its head; that it was read is on record."""
    purpose = request.query_params.get("purpose", "export")
    if purpose not in {"export", "verify", "report"}:
        raise OperatorRequestInvalid("purpose is export, verify or report.")
    store = operators.recorder.store
    head = store.commits.values[store.trail.HEAD]
    stated = Statement.of(store.trail.log, head)
    await operators.recorder.note("trail_exported", actor=actor, purpose=purpose, size=stated.size, root=stated.root)

    def lines() -> Iterator[bytes]:
        with store.reading() as connection:
            chunk = stated.line() + b"\n"
            for body in store.trail.bodies(connection, 0, stated.size):
                chunk += body + b"\n"
                if len(chunk) >= _CHUNK:
                    yield chunk
                    chunk = b""
            yield chunk

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"X-Records": str(stated.size)})


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    try:
        return max(-1, min(int(given), 2**53))
    except ValueError:
        raise OperatorRequestInvalid(f"{name} is a number.") from None
