"""Evidence: signed heads, the keys that sign them, proofs of a call's records, and what a bundle needs besides."""

import asyncio
import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.audit import Record, RecordProof, open_checkpoint
from broker.audit.bundle import manifest_text
from broker.audit.proof import hash_lines
from broker.doors.admin.operators import Operators, body
from broker.errors import NotFound, OperatorRequestInvalid
from broker.evidence.export import consistency, inclusion
from broker.store import Connection

_PREVIOUS = "last bundle"  # the setting under which the store keeps the last bundle's head and manifest
_MOST_PROOFS = 1000


class NewBundle(BaseModel):
    """The body of `POST /v1/trail/bundles`: a manifest to be signed, and the signed head that its bundle rests on."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    checkpoint: Annotated[str, Field(max_length=10_000)]
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


async def checkpoint(operators: Operators, _request: Request, _actor: Record) -> Response:
    """Sign the head of the log as it is now."""
    signed = await operators.heads.sign()
    return JSONResponse(
        {
            "checkpoint": signed.checkpoint,
            "size": signed.head.size,
            "root": signed.head.root().hex(),
            **operators.heads.status(),
        }
    )


async def ship(operators: Operators, _request: Request, actor: Record) -> Response:
    """Sign the head and ship it now, wherever heads go."""
    operators.heads.names()
    signed = await operators.heads.sign()
    await operators.heads.ship(signed, actor=actor, always=True)
    return JSONResponse({"checkpoint": signed.checkpoint, "size": signed.head.size, **operators.heads.status()})


async def keys(operators: Operators, _request: Request, _actor: Record) -> Response:
    """List the log's keys, the oldest first."""
    return JSONResponse([{"vkey": str(one.key), "endorsement": one.endorsement} for one in operators.signing.keys])


async def rotate_key(operators: Operators, _request: Request, actor: Record) -> Response:
    """Make another key, endorsed by the one in use, and sign with it from now on."""
    before = operators.signing.current
    made = await operators.signing.rotate(actor)
    signed = await operators.heads.sign()
    return JSONResponse({"vkey": str(made), "before": str(before), "checkpoint": signed.checkpoint}, status_code=201)


async def proofs(operators: Operators, request: Request, _actor: Record) -> Response:
    """Prove each of a call's records to be in the log (C2SP tlog-proof)."""
    store, call_id = operators.recorder.store, request.path_params["call_id"]
    bodies = await asyncio.to_thread(store.read, lambda connection: store.trail.of_call(connection, call_id))
    if not bodies:
        raise NotFound(f"There is no call {call_id!r} in the trail.")
    signed = await operators.heads.sign()

    def prove(connection: Connection) -> list[dict[str, object]]:
        proved = []
        for one in bodies:
            record = json.loads(one)
            path = inclusion(store.trail, connection, record["seq"], signed.head.size)
            proof = RecordProof(record["seq"], tuple(path), signed.checkpoint, one)
            proved.append({"seq": record["seq"], "kind": record["kind"], "proof": proof.text()})
        return proved

    proved = await asyncio.to_thread(store.read, prove)
    return JSONResponse({"checkpoint": signed.checkpoint, "proofs": proved})


async def paths(operators: Operators, request: Request, _actor: Record) -> Response:
    """Return the inclusion path of each of some records, in the log of a size, in base64."""
    store = operators.recorder.store
    try:
        size = int(request.query_params.get("size", ""))
        seqs = [int(one) for one in request.query_params.get("seq", "").split(",")]
    except ValueError:
        raise OperatorRequestInvalid("size is a number, and seq are numbers with commas between them.") from None
    head = store.commits.values[store.trail.HEAD]
    if not 0 < size <= head.size or len(seqs) > _MOST_PROOFS or not all(0 <= seq < size for seq in seqs):
        raise OperatorRequestInvalid(f"The log has {head.size} records, and {_MOST_PROOFS} can be proved at once.")
    found = await asyncio.to_thread(
        store.read, lambda connection: [hash_lines(inclusion(store.trail, connection, seq, size)) for seq in seqs]
    )
    return JSONResponse(found)


async def previous(operators: Operators, request: Request, _actor: Record) -> Response:
    """Return the head of the bundle before, and the proof that the log of a size grew out of it."""
    store = operators.recorder.store
    found = await asyncio.to_thread(store.read, lambda connection: store.settings.get(connection, _PREVIOUS))
    if found is None:
        return JSONResponse(None)
    before = json.loads(found)
    old, _ = open_checkpoint(before["checkpoint"], [one.key for one in operators.signing.keys])
    try:
        size = int(request.query_params.get("size", ""))
        path = await asyncio.to_thread(
            store.read, lambda connection: consistency(store.trail, connection, old.size, size)
        )
    except ValueError as error:
        raise OperatorRequestInvalid(f"size: {error}") from None
    return JSONResponse({**before, "consistency": hash_lines(path)})


async def add_bundle(operators: Operators, request: Request, actor: Record) -> Response:
    """Sign a bundle's manifest and record it; the next bundle is shown to have grown out of this one."""
    made = NewBundle.model_validate_json(await body(request))
    store, recorder = operators.recorder.store, operators.recorder
    try:
        head, _ = open_checkpoint(made.checkpoint, [one.key for one in operators.signing.keys])
    except ValueError as error:
        raise OperatorRequestInvalid(f"checkpoint: {error}") from None
    note = await operators.signing.sign(manifest_text(store.trail.log, head.size, made.manifest_sha256))
    before = json.dumps({"checkpoint": made.checkpoint, "manifest_sha256": made.manifest_sha256})
    await recorder.note(
        "bundle_made",
        change=lambda change: store.settings.put(change, _PREVIOUS, before),
        actor=actor,
        checkpoint={"size": head.size, "root": head.root.hex()},
        manifest_sha256=made.manifest_sha256,
    )
    return JSONResponse({"note": note}, status_code=201)
