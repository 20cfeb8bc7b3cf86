"""The grants of a store: every change durable and on record at once, and known in memory as it is on disk."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from broker.audit import Record, new_id, timestamp
from broker.errors import AlreadyExists, AuditUnavailable, NotFound, VaultUnreadable
from broker.store import Connection, GrantRow, GrantStatus, Store, Transaction
from broker.vault.keys import KeyEncryptionKey
from broker.vault.material import Kept, kind_of, pack, shown_of, unpack
from broker.vault.rows import event
from broker.vault.seal import Place, seal, unseal


class Ledger(Mapping[str, GrantRow]):
    """Every grant by its id."""

    def __init__(self, store: Store, key: KeyEncryptionKey) -> None:
        self.store = store
        self.key = key
        self._rows: dict[str, GrantRow] = {}

    def load(self, connection: Connection) -> None:
        """Read every grant."""
        self._rows = {row.id: row for row in self.store.grants.all(connection)}

    def __getitem__(self, grant_id: str) -> GrantRow:
        if grant_id not in self._rows:
            raise NotFound(f"There is no grant {grant_id!r}.")
        return self._rows[grant_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def live(self, connector: str, principal: str) -> list[GrantRow]:
        """Return a principal's grants at a connector that are not revoked."""
        return [
            row
            for row in self._rows.values()
            if (row.connector, row.principal) == (connector, principal) and row.status != "revoked"
        ]

    async def add(
        self,
        connector: str,
        principal: str,
        kept: Kept,
        actor: Record,
        *,
        scopes: tuple[str, ...] = (),
        person: tuple[str, str] | None = None,
        instead: bool = False,
    ) -> GrantRow:
        """Seal and keep a grant; raise `AlreadyExists` if the principal has one of the same scopes that is not revoked.

        With `instead`, those of the same kind and scopes are revoked in the same commit.
        """
        kind, now, version = kind_of(kept), timestamp(), 1
        place = Place(connector, principal, f"{kind} grant", version)
        sealed = seal(self.key, place, pack(kept))
        public = json.dumps(shown_of(kept) | ({"person": person} if person else {}))
        row = GrantRow(
            new_id(), connector, principal, kind, "active", " ".join(scopes), public, version, self.key.key_id, sealed,
            now, now,
        )  # fmt: skip
        replaced: list[GrantRow] = []

        def change(transaction: Transaction) -> bool:
            replaced[:] = _same(self.store.grants.live(transaction, connector, principal), row)
            if replaced and not (instead and all(old.kind == kind for old in replaced)):
                raise AlreadyExists(f"{connector} has a grant already; revoke it first.")
            for old in replaced:
                self.store.grants.set_status(transaction, old.id, "revoked", now)
                self.store.trail.append(transaction, event("grant_revoked", old, actor, replaced_by=row.id))
            self.store.grants.add(transaction, row)
            added = event("grant_connected" if instead else "grant_added", row, actor, scopes=list(scopes))
            self.store.trail.append(transaction, added)
            return True

        await self._make(row, change)
        for old in replaced:
            self._rows[old.id] = replace(old, status="revoked", sealed="", changed=now)
        return row

    async def set_status(self, row: GrantRow, status: GrantStatus, kind: str, actor: Record, **facts: object) -> None:
        """Change a grant's status, on record; nothing happens where it has that status, or is revoked."""
        now = timestamp()
        current = self._rows.get(row.id, row)
        changed = replace(current, status=status, changed=now, sealed="" if status == "revoked" else current.sealed)

        def change(transaction: Transaction) -> bool:
            if not self.store.grants.set_status(transaction, row.id, status, now):
                return False
            self.store.trail.append(transaction, event(kind, row, actor, **facts))
            return True

        await self._make(changed, change)

    async def renew(self, row: GrantRow, before: GrantRow, *records: Record) -> None:
        """Put a grant's new state in place of the one before, with its records, in one commit.

        Raises `VaultUnreadable` where the grant has moved on meanwhile.
        """

        def change(transaction: Transaction) -> bool:
            if not self.store.grants.replace(transaction, row, before.version):
                return False
            for record in records:
                self.store.trail.append(transaction, record)
            return True

        await self._make(row, change)
        if self._rows[row.id] != row:
            raise VaultUnreadable(detail=f"grant {row.id} has been changed meanwhile")

    def sealed(self, row: GrantRow, kept: Kept) -> GrantRow:
        """Return the row's next version, with this sealed in it."""
        version = row.version + 1
        place = Place(row.connector, row.principal, f"{row.kind} grant", version)
        value = seal(self.key, place, pack(kept))
        return replace(row, version=version, key_id=self.key.key_id, sealed=value, refreshing=0, changed=timestamp())

    def opened(self, row: GrantRow) -> Kept:
        """Return what is sealed in a row; raise `VaultUnreadable`. What stands in clear beside it decides nothing."""
        for key in (self.key, *self.key.others):
            if row.key_id == key.key_id:
                place = Place(row.connector, row.principal, f"{row.kind} grant", row.version)
                kept: Kept = unpack(row.kind, unseal(key, place, row.sealed))
                return kept
        raise VaultUnreadable(detail=f"grant {row.id} is sealed with key {row.key_id}")

    async def _make(self, row: GrantRow, change: Callable[[Transaction], bool]) -> None:
        """Commit a change after which a grant is as `row` says; it is known here too, whoever stops waiting.

        Where nothing is changed, or nobody can say, the store is asked what is so: a commit that was said to have
        failed may stand.
        """

        async def commit() -> None:
            made = False
            try:
                made = await self.store.commits.commit(change)
            finally:
                if made:
                    self._rows[row.id] = row
                else:
                    with contextlib.suppress(AuditUnavailable):
                        await asyncio.to_thread(self.store.read, self.load)

        await asyncio.shield(commit())


def _same(live: list[GrantRow], row: GrantRow) -> list[GrantRow]:
    """Return the grants in whose place another would stand: which of two is used must never be a matter of order."""
    registration = row.kind == "oauth-client"
    return [
        old
        for old in live
        if (old.kind == "oauth-client") is registration
        and (registration or sorted(old.scopes.split()) == sorted(row.scopes.split()))
    ]
