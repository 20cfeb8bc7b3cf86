"""Search of the trail, and its index."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.filters import filter_of
from broker.doors.admin.operators import Operators
from broker.errors import OperatorRequestInvalid

_USUAL = 50
_MOST_ENTRIES = 200  # what a page costs grows with its square, at worst
_LARGEST = 2**53
_PAGE = frozenset({"before", "limit"})


async def search(operators: Operators, request: Request, _actor: Record) -> Response:
    """Return a page of calls and events that match, the newest first, and where the next page begins."""
    wanted = filter_of(request, _PAGE)
    before = _number(request, "before", None, _LARGEST)
    limit = _number(request, "limit", _USUAL, _MOST_ENTRIES) or _USUAL
    index = operators.recorder.store.search
    lag = operators.indexer.lag()
    found = await asyncio.to_thread(index.search, wanted, before, limit + 1)
    following = found[limit - 1]["seq"] if len(found) > limit else None
    return JSONResponse({"entries": found[:limit], "next": following, "lag": lag})


async def reindex(operators: Operators, _request: Request, actor: Record) -> Response:
    """Throw the index away, to be made again; that it was asked for is on record."""
    await operators.recorder.note("index_rebuilt", actor=actor)
    await operators.indexer.rebuild()
    return JSONResponse({"lag": operators.indexer.lag()})


def _number(request: Request, name: str, default: int | None, most: int) -> int | None:
    """Return a number of the query; it must be one, from 1 on."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= len(str(most)) and 1 <= int(given) <= most):
        raise OperatorRequestInvalid(f"{name}: is a number from 1 to {most}.")
    return int(given)
