"""The trail: read, follow one call, export it all."""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from broker.audit import Record, Statement
from broker.doors.admin.filters import filter_of
from broker.doors.admin.operators import Operators
from broker.errors import NotFound, OperatorRequestInvalid
from broker.evidence.export import Range, export_lines

_CHUNK = 1 << 16
_MOST_RECORDS = 1000
_MOST_OF_A_RUN = 100
_MOST_SECONDS = 60.0  # to wait for the index
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


async def costs(operators: Operators, request: Request, _actor: Record) -> Response:
    """Return what each attempt of a call has cost as it is known now, by its hold: it may be known since its end."""
    store, call_id = operators.recorder.store, request.path_params["call_id"]
    found = await asyncio.to_thread(store.read, lambda connection: store.budgets.costs_of(connection, call_id))
    return JSONResponse({hold: {"cost": cost, "cost_source": source} for hold, (cost, source) in found.items()})


async def run(operators: Operators, request: Request, _actor: Record) -> Response:
    """Return the other calls of the run that a call is of: those of its agent that share its trace id."""
    store, call_id = operators.recorder.store, request.path_params["call_id"]
    bodies = await asyncio.to_thread(store.read, lambda connection: store.trail.of_call(connection, call_id))
    run_id = next((record["run_id"] for record in map(json.loads, bodies) if record.get("run_id")), None)
    found = [] if run_id is None else await asyncio.to_thread(store.search.of_run, run_id, _MOST_OF_A_RUN)
    of = next((one["workload"] for one in found if one["call_id"] == call_id), None)
    return JSONResponse([one for one in found if one["workload"] == of and one["call_id"] != call_id])


async def export(operators: Operators, request: Request, actor: Record) -> Response:
    """Stream what is asked for of the log up to now, behind a signed head; that it was read is on record."""
    wanted = filter_of(request, frozenset({"purpose"}))
    purpose = request.query_params.get("purpose", "export")
    if purpose not in _PURPOSES:
        raise OperatorRequestInvalid(f"purpose is {', '.join(_PURPOSES)}.")
    store, keys = operators.recorder.store, operators.signing.keys
    with contextlib.ExitStack() as guard:
        async with operators.pruning:  # what is pruned after the head was signed, no record under it would explain
            signed = await operators.heads.sign()
            connection = await asyncio.to_thread(guard.enter_context, store.reading())
        stated = Statement.of(store.trail.log, signed.head, signed.checkpoint, keys, **wanted.query())
        await operators.recorder.note(
            "trail_exported", actor=actor, purpose=purpose, filter=wanted.query(), size=stated.size, root=stated.root
        )
        ranges: Iterable[Range] = [(0, stated.size)] if stated.size else []
        if stated.filter:
            await operators.indexer.caught_up(stated.size, _MOST_SECONDS)
            ranges = store.search.selected(wanted, 0, stated.size)
        lines = export_lines(store.trail, connection, stated, ranges)
        return StreamingResponse(_chunks(lines, guard.pop_all()), media_type="application/x-ndjson")


def _chunks(lines: Iterator[bytes], stack: contextlib.ExitStack) -> Iterator[bytes]:
    """Yield lines, many at once."""
    with stack:
        chunk: list[bytes] = []
        length = 0
        for line in lines:
            chunk.append(line + b"\n")
            length += len(line)
            if length >= _CHUNK:
                yield b"".join(chunk)
                chunk, length = [], 0
        yield b"".join(chunk)


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    try:
        return max(-1, min(int(given), 2**53))
    except ValueError:
        raise OperatorRequestInvalid(f"{name} is a number.") from None
