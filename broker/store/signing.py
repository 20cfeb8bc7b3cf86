"""The keys that sign the trail's heads: public parts in clear, private parts sealed by the vault."""

import sqlite3
from dataclasses import dataclass, field

from broker.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class SigningKeyRow:
    """One key, by its number in the order of their use; `endorsement` is the note by which the one before names it."""

    number: int
    vkey: str
    endorsement: str | None
    sealed: str = field(repr=False)
    created: str


class SigningKeyTable:
    """Reads and adds signing keys; none is ever taken away, for what it signed is to be checked for ever."""

    def all(self, connection: sqlite3.Connection) -> list[SigningKeyRow]:
        """Return every key, the oldest first."""
        rows = connection.execute("SELECT number, vkey, endorsement, sealed, created FROM signing_keys ORDER BY number")
        return [SigningKeyRow(*row) for row in rows]

    def reseal(self, transaction: Transaction, row: SigningKeyRow, sealed: str) -> bool:
        """Put another sealed form of a private part in place of the one that was read."""
        statement = "UPDATE signing_keys SET sealed = ? WHERE number = ? AND sealed = ?"
        return transaction.execute(statement, (sealed, row.number, row.sealed)).rowcount == 1

    def add(self, transaction: Transaction, row: SigningKeyRow) -> None:
        """Add a key; the private parts of those before it are forgotten, for they sign nothing more."""
        transaction.execute("UPDATE signing_keys SET sealed = ''")
        transaction.execute(
            "INSERT INTO signing_keys (number, vkey, endorsement, sealed, created) VALUES (?, ?, ?, ?, ?)",
            (row.number, row.vkey, row.endorsement, row.sealed, row.created),
        )
