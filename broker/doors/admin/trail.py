"""The trail: read, follow one call, export it all."""

import asyncio
from collections.abc import Iterator, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from broker.audit import Filter, Record, Statement
from broker.doors.admin.operators import Operators
from broker.errors import NotFound, OperatorRequestInvalid
from broker.evidence.export import export_lines

_CHUNK = 1 << 16
_MOST_RECORDS = 1000
_PURPOSES = ("export", "verify", "report")


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
    """Stream what is asked for of the log up to now, behind a signed head; that it was read is on record."""
    given = dict(request.query_params)
    purpose = given.pop("purpose", "export")
    if purpose not in _PURPOSES:
        raise OperatorRequestInvalid(f"purpose is {', '.join(_PURPOSES)}.")
    wanted = _filter(given)
    store, signed = operators.recorder.store, await operators.heads.sign()
    keys = operators.signing.keys
    stated = Statement.of(store.trail.log, signed.head, signed.checkpoint, keys, **wanted.query())
    await operators.recorder.note(
        "trail_exported",
        actor=actor,
        purpose=purpose,
        filter=wanted.query(),
        size=stated.size,
        root=stated.root,
    )

    def chunks() -> Iterator[bytes]:
        with store.reading() as connection:
            chunk: list[bytes] = []
            length = 0
            for line in export_lines(store.trail, connection, stated, [(0, stated.size)] if stated.size else []):
                chunk.append(line)
                length += len(line) + 1
                if length >= _CHUNK:
                    yield b"\n".join([*chunk, b""])
                    chunk, length = [], 0
            yield b"\n".join([*chunk, b""]) if chunk else b""

    return StreamingResponse(chunks(), media_type="application/x-ndjson", headers={"X-Records": str(stated.size)})


def _filter(given: Mapping[str, str]) -> Filter:
    try:
        return Filter.parse(given)
    except ValueError as error:
        raise OperatorRequestInvalid(f"{error}.") from None


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    try:
        return max(-1, min(int(given), 2**53))
    except ValueError:
        raise OperatorRequestInvalid(f"{name} is a number.") from None
