"""The life of access keys: issued, shown once, listed, revoked; every change on record with its actor."""

import asyncio
import datetime
from dataclasses import replace

from broker.audit import Record, new_id, timestamp
from broker.errors import NotFound
from broker.identity import AccessKey, KeyRing, new_access_key
from broker.store import AccessKeyRow, Store, Transaction


class AccessKeys:
    """Keeps the hashes of access keys, and the ring that callers are checked against."""

    def __init__(self, store: Store) -> None:
        self.ring = KeyRing()
        self._store = store
        self._rows: dict[str, AccessKeyRow] = {}

    async def start(self) -> None:
        """Load the keys that there are."""
        rows = await asyncio.to_thread(self._store.read, self._store.access_keys.all)
        self._rows = {row.id: row for row in rows}
        self.ring.put(_kept(row) for row in rows)

    def all(self) -> list[AccessKeyRow]:
        """Return every key, also the revoked and expired, the newest first."""
        return sorted(self._rows.values(), key=lambda row: (row.created, row.id), reverse=True)

    async def add(
        self, agent: str, workload: str, label: str, expires: datetime.datetime, actor: Record
    ) -> tuple[str, AccessKeyRow]:
        """Issue a key for an agent; return its text, which nobody can look up later, and what is kept of it."""
        text, key = new_access_key(workload, expires.timestamp())
        row = AccessKeyRow(key.id, workload, key.hash, label, timestamp(), str(actor.get("user")), expires.isoformat())

        def change(transaction: Transaction) -> None:
            self._store.access_keys.add(transaction, row)
            self._store.trail.append(transaction, _event("access_key_added", row, actor, agent=agent))

        await self._store.commits.commit(change)
        self._rows[row.id] = row
        self.ring.put([key])
        return text, row

    async def revoke(self, key_id: str, reason: str, actor: Record) -> AccessKeyRow:
        """End a key for good, at once; raise `NotFound` if there is none, or it is revoked already."""
        row = self._rows.get(key_id)
        if row is None:
            raise NotFound(f"There is no access key {key_id!r}; 'aam keys list' shows their ids.")
        ended = replace(row, revoked=timestamp())

        def change(transaction: Transaction) -> None:
            if not self._store.access_keys.revoke(transaction, key_id, str(ended.revoked)):
                raise NotFound(f"The access key {key_id} is revoked already.")
            self._store.trail.append(transaction, _event("access_key_revoked", row, actor, reason=reason))

        await self._store.commits.commit(change)
        self._rows[key_id] = ended
        self.ring.revoke(key_id)
        return ended


def _kept(row: AccessKeyRow) -> AccessKey:
    expires = datetime.datetime.fromisoformat(row.expires).timestamp()
    return AccessKey(row.id, row.workload, row.hash, expires, revoked=row.revoked is not None)


def _event(kind: str, row: AccessKeyRow, actor: Record, **facts: str) -> Record:
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": kind,
        "actor": dict(actor),
        "access_key": {"id": row.id, "workload": row.workload, "label": row.label, "expires": row.expires},
        **facts,
    }
