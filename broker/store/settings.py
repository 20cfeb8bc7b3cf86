"""The few values that belong to the store itself, such as the check value of the key that seals it."""

import sqlite3

from broker.store.transaction import Transaction


class SettingTable:
    """Named text values."""

    def get(self, connection: sqlite3.Connection, name: str) -> str | None:
        """Return a value, or None."""
        row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def named(self, connection: sqlite3.Connection, prefix: str) -> dict[str, str]:
        """Return the values whose names begin so."""
        query = "SELECT name, value FROM settings WHERE substr(name, 1, ?) = ? ORDER BY name"
        return dict(connection.execute(query, (len(prefix), prefix)).fetchall())

    def drop(self, transaction: Transaction, name: str) -> None:
        """Take a value away."""
        transaction.execute("DELETE FROM settings WHERE name = ?", (name,))

    def put(self, transaction: Transaction, name: str, value: str) -> None:
        """Set a value."""
        transaction.execute(
            "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )
