"""Access keys at rest: whose they are, until when they are good, and a hash of each; never a key itself."""

import sqlite3
from dataclasses import dataclass, field

from broker.store.transaction import Transaction

_COLUMNS = "id, workload, hash, label, created, created_by, expires, revoked"


@dataclass(frozen=True, slots=True)
class AccessKeyRow:
    """One access key. `expires` and `revoked` are moments as records write them; `revoked` is None until it is."""

    id: str
    workload: str
    hash: str = field(repr=False)
    label: str
    created: str
    created_by: str
    expires: str
    revoked: str | None = None


class AccessKeyTable:
    """Reads and writes access keys; none is ever taken away, so that what a record names can be looked up."""

    def add(self, transaction: Transaction, row: AccessKeyRow) -> None:
        """Insert a key."""
        values = tuple(getattr(row, name) for name in _COLUMNS.split(", "))
        transaction.execute(f"INSERT INTO access_keys ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - constants

    def revoke(self, transaction: Transaction, key_id: str, revoked: str) -> bool:
        """End a key; False if there is none of that id, or it is revoked already."""
        statement = "UPDATE access_keys SET revoked = ? WHERE id = ? AND revoked IS NULL"
        return transaction.execute(statement, (revoked, key_id)).rowcount == 1

    def all(self, connection: sqlite3.Connection) -> list[AccessKeyRow]:
        """Return every key, the newest first."""
        rows = connection.execute(f"SELECT {_COLUMNS} FROM access_keys ORDER BY created DESC, id DESC")  # noqa: S608 - constants
        return [AccessKeyRow(*row) for row in rows]
