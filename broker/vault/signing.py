"""The key that signs the trail's heads: made at first use, sealed in the store, read anew for each signature."""

import asyncio

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.audit import LogKey, Record, VerifierKey, new_id, timestamp
from broker.audit.checkpoint import endorsement_text
from broker.audit.note import sign
from broker.errors import AuditUnavailable, StoreUnusable, VaultUnreadable
from broker.store import SigningKeyRow, Store, Transaction
from broker.vault.keys import KeyEncryptionKey
from broker.vault.seal import Place, seal, unseal

_PRINCIPAL = "broker"
_CONNECTOR = "-"


class SigningKeys:
    """Signs for one log. The private key is in memory only while it signs."""

    def __init__(self, store: Store, key: KeyEncryptionKey) -> None:
        self._store = store
        self._key = key
        self._log = store.trail.log
        self.keys: tuple[LogKey, ...] = ()
        """The log's public keys, the oldest first; the last one signs."""

    async def start(self) -> None:
        """Load the keys, and make the first if there is none; raise `StoreUnusable` if they cannot be read."""
        rows = await asyncio.to_thread(self._store.read, self._store.signing_keys.all)
        try:
            self.keys = tuple(LogKey(VerifierKey.parse(row.vkey), row.endorsement) for row in rows)
        except ValueError as error:
            raise StoreUnusable(f"A signing key of the trail cannot be read: {error}.") from None
        if not self.keys:
            await self._add("signing_key_made", {"service": "broker"}, None)

    @property
    def current(self) -> VerifierKey:
        """The public key that signs now."""
        return self.keys[-1].key

    async def sign(self, text: str) -> str:
        """Return the text as a signed note; raise `AuditUnavailable` if the key does not open, or signs wrongly."""
        return await asyncio.to_thread(self._sign, text)

    async def rotate(self, actor: Record) -> VerifierKey:
        """Make another key and have the one in use endorse it; from now on the new one signs."""
        return await self._add("signing_key_rotated", actor, self.current)

    def _sign(self, text: str) -> str:
        rows = self._store.read(self._store.signing_keys.all)
        try:
            row = rows[-1]
            private = Ed25519PrivateKey.from_private_bytes(unseal(self._key, signing_place(row.number), row.sealed))
            return sign(text, self.current, private.sign)
        except (IndexError, VaultUnreadable, ValueError):
            raise AuditUnavailable(
                detail="the trail's signing key does not open, or is not the one of record"
            ) from None

    async def _add(self, kind: str, actor: Record, before: VerifierKey | None) -> VerifierKey:
        private, number = Ed25519PrivateKey.generate(), len(self.keys) + 1
        key = VerifierKey(self._log, private.public_key().public_bytes_raw())
        endorsement = None if before is None else await self.sign(endorsement_text(self._log, key))
        sealed = seal(self._key, signing_place(number), private.private_bytes_raw())
        row = SigningKeyRow(number, str(key), endorsement, sealed, timestamp())
        record = {"id": new_id(), "time": row.created, "kind": kind, "actor": dict(actor)}
        record["key"] = {"vkey": str(key), "before": before and str(before), "endorsement": endorsement}

        def change(transaction: Transaction) -> None:
            self._store.signing_keys.add(transaction, row)
            self._store.trail.append(transaction, record)

        await self._store.commits.commit(change)
        self.keys = (*self.keys, LogKey(key, endorsement))
        return key


def signing_place(number: int) -> Place:
    """Return where a private part belongs."""
    return Place(_CONNECTOR, _PRINCIPAL, "trail signing key", number)
