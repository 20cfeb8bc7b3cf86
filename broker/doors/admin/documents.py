"""The history of the documents: which sets were in force, what stood in them, and the intention to bring one back."""

import asyncio
import base64
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record
from broker.doors.admin.operators import Operators, body
from broker.errors import NotFound, OperatorRequestInvalid
from broker.evidence.differences import changed_documents, changed_files
from broker.evidence.history import compared
from broker.store import Connection, SetRow

_DIGEST = re.compile(r"[0-9a-f]{4,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_SETS = 200
_MOST_NAMED = 8  # sets that an ambiguous digest may mean


class WantedRollback(BaseModel):
    """The body of `POST /v1/documents/rollback`: which set, and why."""

    model_config = ConfigDict(extra="forbid")

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{4,64}$")]
    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]


async def history(operators: Operators, request: Request, _actor: Record) -> Response:
    """List the sets that came into force last, the newest first: `last` of them, those before the record `before`."""
    store, now = operators.recorder.store, operators.documents.current.digest
    last, before = _number(request, "last", 20, _MOST_SETS), _number(request, "before", None, 2**53)

    def listed(connection: Connection) -> list[dict[str, Any]]:
        rows = store.history.last(connection, (last or 0) + 1, before)
        pairs = zip(rows, [*rows[1:], None], strict=True)
        newest = rows[0] if rows and before is None else None  # the same set may have been in force before, too
        return [_shown(row, earlier, in_force=row is newest and row.digest == now) for row, earlier in pairs][:last]

    return JSONResponse({"in_force": now, "sets": await asyncio.to_thread(store.read, listed)})


async def one_set(operators: Operators, request: Request, _actor: Record) -> Response:
    """Tell everything of a set, as it came into force last; the first digits of its digest are enough."""
    row, earlier, kept = await _found(operators, request.path_params["digest"])
    files = [{"name": name, "sha256": sha256, "kept": sha256 in kept} for name, sha256 in sorted(row.files.items())]
    shown = _shown(row, earlier, in_force=row.digest == operators.documents.current.digest)
    return JSONResponse({**shown, "before": earlier.digest if earlier else None, "files": files})


async def file(operators: Operators, request: Request, _actor: Record) -> Response:
    """Return a content that is kept, by its SHA-256."""
    sha256 = request.path_params["sha256"]
    if not _SHA256.fullmatch(sha256):
        raise OperatorRequestInvalid("A content is asked for by its SHA-256.")
    store = operators.recorder.store
    content = await asyncio.to_thread(store.read, lambda connection: operators.history.content(connection, sha256))
    if content is None:
        raise NotFound(f"The history of the documents keeps no content {sha256!r}.")
    return JSONResponse({"sha256": sha256, "base64": base64.b64encode(content).decode()})


async def rules(operators: Operators, request: Request, _actor: Record) -> Response:
    """Return the text of a rule as it was then: `sha256`, `policy` and `place` as a *decided* record names them."""
    named = {name: request.query_params.get(name, "") for name in ("sha256", "policy", "place")}
    if not _SHA256.fullmatch(named["sha256"]) or not named["policy"] or not named["place"]:
        raise OperatorRequestInvalid("A rule is asked for by sha256, policy and place, as a record names it.")
    store = operators.recorder.store
    text = await asyncio.to_thread(store.read, lambda connection: operators.history.rule(connection, **named))
    return JSONResponse({**named, "text": text})


async def begin_rollback(operators: Operators, request: Request, actor: Record) -> Response:
    """Put on record that the operator is about to bring a set back; its files are the operator's to put in place."""
    wanted = WantedRollback.model_validate_json(await body(request))
    row, _, _ = await _found(operators, wanted.digest)
    rollback = await operators.history.begin_rollback(
        operators.documents.current.digest, row, wanted.reason.strip(), actor
    )
    return JSONResponse({"id": rollback.id, "from": rollback.before, "to": rollback.to}, status_code=201)


async def give_up_rollback(operators: Operators, request: Request, actor: Record) -> Response:
    """Put on record that a rollback was given up, and its files put back as they were."""
    if not await operators.history.give_up_rollback(request.path_params["id"], actor):
        raise NotFound("This rollback is not under way.")
    return JSONResponse({"id": request.path_params["id"]})


async def _found(operators: Operators, prefix: str) -> tuple[SetRow, SetRow | None, set[str]]:
    """Return a set, the one before it, and which contents are kept; raise `NotFound`, or if several are meant."""
    if not _DIGEST.fullmatch(prefix):
        raise OperatorRequestInvalid("A set is named by the first digits of its digest: four or more, 0-9 and a-f.")
    store = operators.recorder.store

    def find(connection: Connection) -> tuple[SetRow, SetRow | None, set[str]]:
        meant = store.history.digests(connection, prefix, _MOST_NAMED)
        if len(meant) > 1:
            names = ", ".join(digest[: len(prefix) + 8] for digest in meant)
            raise OperatorRequestInvalid(f"{prefix} may be {names}; write more digits.")
        row = operators.history.find(connection, meant[0]) if meant else None
        if row is None:
            raise NotFound(f"No set of documents {prefix!r} was ever in force; 'aam documents history' lists them.")
        earlier = store.history.last(connection, 1, row.seq)
        kept = store.history.kept(connection, [sha256 for sha256 in row.files.values() if sha256])
        return row, (earlier[0] if earlier else None), kept

    return await asyncio.to_thread(store.read, find)


def _shown(row: SetRow, earlier: SetRow | None, *, in_force: bool) -> dict[str, Any]:
    """Return what is shown of a set in a list; what has changed is None for the first, and for a page's last."""
    before, after = (compared(one) if one else None for one in (earlier, row))
    changed = None
    if before is not None and after is not None:
        changed = {"files": changed_files(before[0], after[0]), "documents": changed_documents(before[1], after[1])}
    return {
        "digest": row.digest,
        "time": row.time,
        "record": row.seq,
        "kind": row.kind,
        "files_count": sum(digest is not None for digest in row.files.values()),
        "changed": changed,
        "actor": row.facts.get("actor"),
        "rollback": row.facts.get("rollback"),
        "restart_needed": row.facts.get("restart_needed", False),
        "in_force": in_force,
    }


def _number(request: Request, name: str, default: int | None, most: int) -> int | None:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal()) or len(given) > len(str(most)):
        raise OperatorRequestInvalid(f"{name} is a number.")
    return min(int(given), most)
