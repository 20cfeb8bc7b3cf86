"""Snapshots: fetch what a service says of itself, and pin it once somebody has looked at it."""

import asyncio
import hashlib
import json
import os
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.documents import Connection
from broker.documents.files import LARGEST_NAMED
from broker.doors.admin.operators import Operators, body
from broker.errors import NotFound, OperatorRequestInvalid

_LARGEST_DESCRIPTION = 64 << 20  # bytes: of a service with thousands of operations
_LONGEST_WAIT = 100.0  # seconds


class Approval(BaseModel):
    """The body of `PUT /v1/connectors/NAME/snapshot`: the digest of what was looked at."""

    model_config = ConfigDict(extra="forbid")

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


async def fetch_snapshot(operators: Operators, request: Request, actor: Record) -> Response:
    """Fetch what the service says of itself, through the connector's egress, to be looked at.

    Through its own grant, or without any where the connector says that everybody may see it. A description that the
    request brings is taken in its stead.
    """
    connection = operators.connection(request.path_params["name"])
    if connection.connector.describe is None or connection.snapshot_file is None:
        raise OperatorRequestInvalid(f"{connection.name} has no snapshot: its document names no file for one.")
    described = await body(request, _LARGEST_DESCRIPTION)
    if described:
        fetched, text = await _handed_in(operators, connection, described, actor)
    else:
        fetched, text = await _fetched(operators, connection, actor)
    if len(text) > LARGEST_NAMED:
        raise OperatorRequestInvalid(
            f"That would be {len(text)} bytes to pin, over the {LARGEST_NAMED} of a file; map less."
        )
    operators.fetched[connection.name] = text
    return JSONResponse({"sha256": hashlib.sha256(text).hexdigest(), "fetched": fetched, "pinned": connection.snapshot})


async def _fetched(operators: Operators, connection: Connection, actor: Record) -> tuple[Any, bytes]:
    describe, found_at = connection.connector.describe, connection.connector.described_at
    assert describe is not None  # noqa: S101 - its caller saw to it
    url = None if found_at is None else found_at(connection.document)
    limits = replace(connection.limits, response_bytes=_LARGEST_DESCRIPTION, total_seconds=_LONGEST_WAIT)
    patient = replace(connection, limits=limits)
    calling = (
        operators.calling(patient, "snapshot_fetched", actor)
        if url is None
        else operators.calling_openly(patient, url, "snapshot_fetched", actor)
    )
    async with calling as call:
        fetched = await describe(call.session, connection.document)
        text = call.release(_text(fetched)).encode()
        call.facts["sha256"] = hashlib.sha256(text).hexdigest()
    return fetched, text


async def _handed_in(
    operators: Operators, connection: Connection, described: bytes, actor: Record
) -> tuple[Any, bytes]:
    if connection.connector.pin is None:
        raise OperatorRequestInvalid(f"{connection.name} takes no description from a file: it asks its service.")
    fetched = await connection.connector.pin(connection.document, described)
    text = _text(fetched).encode()
    digest = hashlib.sha256(text).hexdigest()
    await operators.recorder.note("snapshot_handed_in", actor=actor, connector=connection.name, sha256=digest)
    return fetched, text


def _text(fetched: Any) -> str:
    return json.dumps(fetched, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


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
