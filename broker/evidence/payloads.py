"""What policies have recorded encrypted: told of, and shown to those who may see it, on record before it is shown."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker.audit import Record
from broker.errors import NotFound, VaultUnreadable
from broker.pipeline import Recorder
from broker.store import Connection, Store
from broker.vault import Vault

State = Literal["recorded", "erased", "omitted"]


@dataclass(frozen=True, slots=True)
class Commitment:
    """What the trail says of one value that a policy asked for, and whether the value is still there."""

    field: str
    state: State
    sha256: str | None
    bytes: int | None
    omitted: str | None


async def commitments(store: Store, call_id: str) -> list[Commitment]:
    """Tell what is recorded encrypted of a call, and what has been erased; raise `NotFound` for a call not there."""
    said, kept = await asyncio.to_thread(store.read, lambda connection: _of_call(store, connection, call_id))
    return [_standing(one, kept) for one in said]


async def show(recorder: Recorder, vault: Vault, call_id: str, reason: str, actor: Record) -> dict[str, bytes]:
    """Return what is recorded encrypted of a call, as JSON texts by field. That it is shown is durable by then.

    Raises `NotFound` where there is nothing to show, and `VaultUnreadable` for what is not what the trail commits to.
    """
    store = recorder.store
    said, kept = await asyncio.to_thread(store.read, lambda connection: _of_call(store, connection, call_id))
    committed = {one["field"]: one["sha256"] for one in said if "sha256" in one}
    if not kept:
        why = "it has been erased" if committed else "no policy asked for it, or it was omitted"
        raise NotFound(f"Nothing is recorded encrypted of call {call_id}: {why}.")
    opened = {field: _opened(vault, call_id, field, sealed, committed.get(field)) for field, sealed in kept.items()}
    await recorder.note("payload_revealed", actor=actor, call=call_id, fields=sorted(opened), reason=reason)
    return opened


def _opened(vault: Vault, call_id: str, field: str, sealed: bytes, committed: str | None) -> bytes:
    if hashlib.sha256(sealed).hexdigest() != committed:
        message = "What is kept beside the trail is not what was recorded; an administrator must look at the store."
        raise VaultUnreadable(message, detail=f"{field} of call {call_id} is not what the trail commits to")
    return vault.opened_payload(call_id, field, sealed)


def _of_call(store: Store, connection: Connection, call_id: str) -> tuple[list[Mapping[str, Any]], dict[str, bytes]]:
    """Return what a call's records say of sealed values, and the sealed values that are there."""
    bodies = store.trail.of_call(connection, call_id)
    if not bodies:
        raise NotFound(f"There is no call {call_id!r} in the trail.")
    said = [one for body in bodies for one in _said(body)]
    return said, store.payloads.of_call(connection, call_id)


def _said(body: bytes) -> list[Mapping[str, Any]]:
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):  # pruned, or changed by somebody: `verify` says which
        return []
    return [one for part in ("action", "outcome") for one in (record.get(part) or {}).get("sealed", ())]


def _standing(said: Mapping[str, Any], kept: Mapping[str, bytes]) -> Commitment:
    state: State = "omitted" if "omitted" in said else "recorded" if said["field"] in kept else "erased"
    return Commitment(said["field"], state, said.get("sha256"), said.get("bytes"), said.get("omitted"))
