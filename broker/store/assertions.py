"""Assertions that may be used once, and were: until they expire, by whoever issued them and their ids."""

from broker.store.transaction import Transaction


class AssertionTable:
    """Remembers what was used, across restarts."""

    def use(self, transaction: Transaction, issuer: str, assertion_id: str, expires: float, now: float) -> bool:
        """Note a use; False if it was used before. What has expired proves nothing any more, and is forgotten."""
        transaction.execute("DELETE FROM used_assertions WHERE expires <= ?", (now,))
        statement = "INSERT INTO used_assertions (issuer, id, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        return transaction.execute(statement, (issuer, assertion_id, expires)).rowcount == 1
