"""Another key-encryption key in place of the one in use: while calls go on, in small steps, from wherever it stopped.

The next key stands beside the old one until all is sealed with it. Each step is a commit, a crash in between loses
nothing: both keys open what they have sealed. The check value in the store says which of them is the key.

What policies have recorded of calls stays as it was sealed, for the trail commits to those very bytes: the old key is
kept for it, sealed with the new one.
"""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass

from broker.audit import Record, new_id, timestamp
from broker.store import Store, Transaction
from broker.vault.issuing import Issuing
from broker.vault.keys import KeyEncryptionKey
from broker.vault.ledger import Ledger
from broker.vault.principals import BROKER
from broker.vault.seal import Place, reseal_bytes, seal, unseal
from broker.vault.signing import signing_place

CHECK = "vault key check"
_MARK = "vault key rotation"
_SEALED = "sealed "
RETIRED = f"{_SEALED}retired vault key "
_STEP = 200


@dataclass(frozen=True, slots=True)
class Step:
    """How far a rotation is: how many values are sealed with the new key, of how many."""

    done: bool
    sealed: int
    of: int
    key_id: str
    retired_id: str


class Rekeying:
    """One rotation, from its beginning or from where a crash has left it."""

    def __init__(self, store: Store, ledger: Ledger, issuing: Issuing, key: KeyEncryptionKey) -> None:
        self._store = store
        self._ledger = ledger
        self._issuing = issuing
        self._key = key
        self._sealed = 0
        self._retired = ""

    async def begin(self, new: KeyEncryptionKey, actor: Record) -> None:
        """Seal everything new with the new key from now on, on record."""
        self._retired = self._key.key_id
        resumed = await asyncio.to_thread(
            self._store.read, lambda connection: self._store.settings.get(connection, _MARK)
        )
        kind = "vault_key_rotation_resumed" if resumed == new.key_id else "vault_key_rotation_begun"

        def change(transaction: Transaction) -> None:
            self._store.settings.put(transaction, _MARK, new.key_id)
            self._store.trail.append(transaction, self._record(kind, actor, new.key_id))

        await self._store.commits.commit(change)
        self._key.give_way_to(new)
        await self._small_things()

    async def step(self) -> Step:
        """Seal the next few grants; once there are no more, it is done as far as the store is concerned."""
        grants = [row for row in self._ledger.values() if row.status != "revoked" and row.key_id != self._key.key_id]
        for row in grants[:_STEP]:
            await self._issuing.reseal(row.id)
            self._sealed += 1
        left = max(0, len(grants) - _STEP)
        return Step(not left, self._sealed, self._sealed + left, self._key.key_id, self._retired)

    async def finish(self, actor: Record, kept: Callable[[], str]) -> None:
        """Say which is the key now, on record, then have it put in its place; the old one opens nothing any more."""
        old = next(key for key in self._key.others if key.key_id == self._retired)
        archived = seal(self._key, retired_place(old.key_id), old.exported())

        def change(transaction: Transaction) -> None:
            self._store.settings.put(transaction, f"{RETIRED}{old.key_id}", archived)
            self._store.settings.put(transaction, CHECK, self._key.derive("check").hex())
            self._store.settings.drop(transaction, _MARK)
            self._store.trail.append(
                transaction,
                {
                    **self._record("vault_key_rotated", actor, self._key.key_id),
                    "sealed_values": self._sealed,
                },
            )

        await self._store.commits.commit(change)
        await asyncio.to_thread(kept)
        self._key.retire_others()

    async def _small_things(self) -> None:
        """Seal the keys for digests and the key that signs the trail."""
        values = await asyncio.to_thread(
            self._store.read, lambda connection: self._store.settings.named(connection, _SEALED)
        )
        signing = await asyncio.to_thread(self._store.read, self._store.signing_keys.all)

        def change(transaction: Transaction) -> None:
            for name, value in values.items():
                fresh = self._resealed(Place("-", BROKER, name.removeprefix(_SEALED), 1), value)
                if fresh is not None:
                    self._store.settings.put(transaction, name, fresh)
            for row in signing:
                fresh = self._resealed(signing_place(row.number), row.sealed) if row.sealed else None
                if fresh is not None:
                    self._store.signing_keys.reseal(transaction, row, fresh)

        await self._store.commits.commit(change)

    def _resealed(self, place: Place, value: str) -> str | None:
        unseal(self._key, place, value)  # what does not open ends the rotation before anything is done
        fresh = reseal_bytes(self._key, place, base64.b64decode(value))
        self._sealed += fresh is not None
        return None if fresh is None else base64.b64encode(fresh).decode()

    def _record(self, kind: str, actor: Record, key_id: str) -> Record:
        return {
            "id": new_id(),
            "time": timestamp(),
            "kind": kind,
            "actor": dict(actor),
            "key": {"from": self._retired, "to": key_id},
        }


def retired_place(key_id: str) -> Place:
    """Return where a key that was replaced belongs, which still opens what was recorded in its time."""
    return Place("-", BROKER, f"retired vault key {key_id}", 1)
