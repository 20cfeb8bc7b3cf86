"""Snapshots: fetch what a service says of itself, and pin it once somebody has looked at it."""

import asyncio
import hashlib
import json
import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.operators import Operators, body
from broker.errors import NotFound, OperatorRequestInvalid


class Approval(BaseModel):
    """The body of `PUT /v1/connectors/NAME/snapshot`: the digest of what was looked at."""

    model_config = ConfigDict(extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


async def fetch_snapshot(operators: Operators, request: Request, actor: Record) -> Response:
    """Fetch what the service says of itself, through the connector's own grant and egress, to be looked at."""
    connection = operators.connection(request.path_params["name"])
    if connection.connector.describe is None or connection.snapshot_file is None:
        raise OperatorRequestInvalid(f"{connection.name} has no snapshot: its document names no file for one.")
    async with operators.calling(connection, "snapshot_fetched", actor) as call:
        fetched = await connection.connector.describe(call.session, connection.document)
        text = call.release(json.dumps(fetched, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
        digest = call.facts["sha256"] = hashlib.sha256(text).hexdigest()
    operators.fetched[connection.name] = text
    return JSONResponse({"sha256": digest, "fetched": fetched, "pinned": connection.snapshot})


async def approve_snapshot(operators: Operators, request: Request, actor: Record) -> Response:
    """Pin exactly what was fetched and looked at."""
    connection = operators.connection(request.path_params["name"])
    wanted = Approval.model_validate_json(await body(request))
    text = operators.fetched.get(connection.name)
    if text is None or hashlib.sha256(text).hexdigest() != wanted.sha256 or connection.snapshot_file is None:
        raise NotFound("This is not what was fetched last; fetch it again and look at it.")
    await operators.recorder.note("snapshot_approved", actor=actor, connector=connection.name, sha256=wanted.sha256)
    temporary = connection.snapshot_file.with_suffix(".new")
    try:
        await asyncio.to_thread(temporary.write_bytes, text)
        await asyncio.to_thread(os.replace, temporary, connection.snapshot_file)
    except OSError as error:
        raise OperatorRequestInvalid(f"The broker cannot write {connection.snapshot_file}: {error.strerror}.") from None
    operators.fetched.pop(connection.name, None)
    return JSONResponse({"connector": connection.name, "pinned": str(connection.snapshot_file)})
