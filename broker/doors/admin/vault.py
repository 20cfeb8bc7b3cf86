"""The vault's own key: another one in its place, in small steps that an operator's command asks for."""

import dataclasses

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.operators import Operators
from broker.errors import KeyUnavailable, OperatorRequestInvalid
from broker.vault import make_next_key, put_next_key_in_place


async def rotate_key(operators: Operators, _request: Request, actor: Record) -> Response:
    """Take the next steps of a rotation, begun if there is none; `done` says that the new key is in place."""
    broker, base = operators.documents.current.broker, operators.documents.current.base
    source, where = broker.key.source, broker.key.where(base)
    async with operators.rotating:
        if operators.rekeying is None:
            try:
                new = make_next_key(source, where)
            except KeyUnavailable as unavailable:
                raise OperatorRequestInvalid(unavailable.message) from None
            rekeying = operators.vault.rekeying()
            await rekeying.begin(new, actor)
            operators.rekeying = rekeying
        step = await operators.rekeying.step()
        kept: list[str] = []
        if step.done:
            retired = step.retired_id

            def put() -> str:
                kept.append(put_next_key_in_place(source, where, retired))
                return kept[0]

            await operators.rekeying.finish(actor, put)
            operators.rekeying = None
    return JSONResponse(dataclasses.asdict(step) | {"retired_key": kept[0] if kept else None})
