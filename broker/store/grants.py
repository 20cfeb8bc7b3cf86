"""Grants at rest: what may be read in clear, and the sealed rest that only the vault can open."""

import sqlite3
from dataclasses import dataclass
from typing import Literal

from broker.store.queue import Transaction

_COLUMNS = "id, connector, principal, kind, status, scopes, public, version, key_id, sealed, created, changed"
Status = Literal["active", "reauthorization_needed", "revoked"]


@dataclass(frozen=True, slots=True)
class GrantRow:
    """One stored authorisation. `public` is JSON in clear; `sealed` is the vault's."""

    id: str
    connector: str
    principal: str
    kind: str
    status: Status
    scopes: str
    public: str
    version: int
    key_id: str
    sealed: str
    created: str
    changed: str


class GrantTable:
    """Reads and writes grants."""

    def add(self, transaction: Transaction, row: GrantRow) -> None:
        """Insert a grant."""
        values = tuple(getattr(row, name) for name in _COLUMNS.split(", "))
        transaction.execute(f"INSERT INTO grants ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - constants

    def set_status(self, transaction: Transaction, grant_id: str, status: Status, changed: str) -> None:
        """Change a grant's status; a revoked grant loses its sealed part for good."""
        transaction.execute("UPDATE grants SET status = ?, changed = ? WHERE id = ?", (status, changed, grant_id))
        if status == "revoked":
            transaction.execute("UPDATE grants SET sealed = '' WHERE id = ?", (grant_id,))

    def all(self, connection: sqlite3.Connection) -> list[GrantRow]:
        """Return every grant, the newest first."""
        rows = connection.execute(f"SELECT {_COLUMNS} FROM grants ORDER BY created DESC, id DESC")  # noqa: S608 - constants
        return [GrantRow(*row) for row in rows]
