"""Grants at rest: what may be read in clear, and the sealed rest that only the vault can open."""

import sqlite3
from dataclasses import dataclass, field
from typing import Literal

from broker.store.transaction import Transaction

_COLUMNS = "id, connector, principal, kind, status, scopes, public, version, key_id, sealed, created, changed"
GrantStatus = Literal["active", "reauthorization_needed", "revoked"]


@dataclass(frozen=True, slots=True)
class GrantRow:
    """One stored authorisation. `public` is JSON in clear; `sealed` is the vault's."""

    id: str
    connector: str
    principal: str
    kind: str
    status: GrantStatus
    scopes: str
    public: str
    version: int
    key_id: str
    sealed: str = field(repr=False)
    created: str
    changed: str


class GrantTable:
    """Reads and writes grants."""

    def add(self, transaction: Transaction, row: GrantRow) -> None:
        """Insert a grant."""
        values = tuple(getattr(row, name) for name in _COLUMNS.split(", "))
        transaction.execute(f"INSERT INTO grants ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - constants

    def has_live(self, transaction: Transaction, connector: str) -> bool:
        """Tell whether a connector has a grant that is not revoked, seen from inside a change."""
        query = "SELECT 1 FROM grants WHERE connector = ? AND status <> 'revoked'"
        return transaction.execute(query, (connector,)).fetchone() is not None

    def set_status(self, transaction: Transaction, grant_id: str, status: GrantStatus, changed: str) -> bool:
        """Change a grant's status; returns False where it has that status, or is revoked: that is for good.

        A revoked grant loses its sealed part.
        """
        statement = "UPDATE grants SET status = ?, changed = ? WHERE id = ? AND status NOT IN (?, 'revoked')"
        if transaction.execute(statement, (status, changed, grant_id, status)).rowcount == 0:
            return False
        if status == "revoked":
            transaction.execute("UPDATE grants SET sealed = '' WHERE id = ?", (grant_id,))
        return True

    def all(self, connection: sqlite3.Connection) -> list[GrantRow]:
        """Return every grant, the newest first."""
        rows = connection.execute(f"SELECT {_COLUMNS} FROM grants ORDER BY created DESC, id DESC")  # noqa: S608 - constants
        return [GrantRow(*row) for row in rows]
