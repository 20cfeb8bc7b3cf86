"""Grants at rest: what may be read in clear, and the sealed rest that only the vault can open."""

import sqlite3
from dataclasses import dataclass, field
from typing import Literal

from broker.store.transaction import Transaction

_COLUMNS = (
    "id, connector, principal, kind, status, scopes, public, version, key_id, sealed, created, changed, refreshing"
)
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
    refreshing: int = 0
    """How often in a row a refresh that may have rotated the token was begun and did not come to its end."""


class GrantTable:
    """Reads and writes grants."""

    def add(self, transaction: Transaction, row: GrantRow) -> None:
        """Insert a grant."""
        values = tuple(getattr(row, name) for name in _COLUMNS.split(", "))
        transaction.execute(f"INSERT INTO grants ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - constants

    def live(self, transaction: Transaction, connector: str, principal: str) -> list[GrantRow]:
        """Return a principal's grants at a connector that are not revoked, seen from inside a change."""
        query = f"SELECT {_COLUMNS} FROM grants WHERE connector = ? AND principal = ? AND status <> 'revoked'"  # noqa: S608
        return [GrantRow(*row) for row in transaction.execute(query, (connector, principal))]

    def replace(self, transaction: Transaction, row: GrantRow, version: int) -> bool:
        """Put a grant's new state in place of that of a version; False where it has moved on, or is revoked."""
        names = [name for name in _COLUMNS.split(", ") if name not in {"id", "connector", "principal", "created"}]
        values = [getattr(row, name) for name in names]
        statement = (
            f"UPDATE grants SET {', '.join(f'{name} = ?' for name in names)} "  # noqa: S608 - constants
            "WHERE id = ? AND version = ? AND status <> 'revoked'"
        )
        return transaction.execute(statement, (*values, row.id, version)).rowcount == 1

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
