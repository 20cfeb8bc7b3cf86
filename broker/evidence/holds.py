"""Legal holds: what must be kept, whoever asks for it to be erased or pruned, until somebody releases it."""

import dataclasses
from collections.abc import Mapping

from broker.audit import Record, new_id, timestamp
from broker.errors import AlreadyExists, NotFound
from broker.store import Hold, Store, Transaction


async def add(store: Store, name: str, wanted: Mapping[str, str], reason: str, actor: Record) -> Hold:
    """Put a hold on what matches; on record with it. Raises `AlreadyExists`: a name is used once."""
    hold = Hold(new_id(), name, wanted, reason, timestamp())

    def change(transaction: Transaction) -> None:
        if not store.holds.add(transaction, hold):
            raise AlreadyExists(f"There is, or was, a hold {name!r}; choose another name.")
        store.trail.append(transaction, _event("hold_added", hold, reason, actor))

    await store.commits.commit(change)
    return hold


async def release(store: Store, name: str, reason: str, actor: Record) -> Hold:
    """End a hold; on record with it. Raises `NotFound` if none of that name is active."""

    def change(transaction: Transaction) -> Hold:
        hold = next((hold for hold in store.holds.active(transaction) if hold.name == name), None)
        if hold is None:
            raise NotFound(f"No hold {name!r} is active.")
        released = dataclasses.replace(hold, released=timestamp())
        store.holds.release(transaction, name, str(released.released))
        store.trail.append(transaction, _event("hold_released", hold, reason, actor))
        return released

    return await store.commits.commit(change)


def _event(kind: str, hold: Hold, reason: str, actor: Record) -> Record:
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": kind,
        "actor": dict(actor),
        "hold": {"id": hold.id, "name": hold.name, "filter": dict(hold.wanted)},
        "reason": reason,
    }
