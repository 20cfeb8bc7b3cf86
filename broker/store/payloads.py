"""What policies have recorded encrypted, beside the trail: sealed values that only the vault opens, until erased."""

from collections.abc import Mapping, Sequence

from broker.store.conditions import Queries, calls_that_match
from broker.store.transaction import Transaction

_PAGE = 500  # calls that are looked at, and erased, at once
_PAYLOADS = "payloads (call_id, field, sealed, created)"
# Bytes, whatever somebody has made of a value: whether it is what was recorded is not the store's to say
_OF_CALL = "SELECT field, CAST(sealed AS BLOB) FROM payloads WHERE call_id = ? ORDER BY field"
_CALLS = "SELECT DISTINCT call_id FROM payloads WHERE call_id > ? ORDER BY call_id LIMIT ?"


class PayloadTable:
    """Keeps sealed values by call and field. Nothing in the trail depends on one being there."""

    def add(self, transaction: Transaction, call_id: str, field: str, sealed: bytes, created: str) -> None:
        """Keep a sealed value; one that is there already stays."""
        transaction.add_new(_PAYLOADS, (call_id, field, sealed, created))

    def of_call(self, connection: Queries, call_id: str) -> dict[str, bytes]:
        """Return what is kept of a call, by field."""
        return dict(connection.execute(_OF_CALL, (call_id,)).fetchall())

    def matching(self, connection: Queries, wanted: Mapping[str, str], after: str) -> tuple[list[str], str | None]:
        """Look at the next few calls of which something is kept, behind the call `after`.

        Return those that match, and the last one that was looked at: None where there are no more.
        """
        if "call" in wanted:
            return ([wanted["call"]] if not after and self.of_call(connection, wanted["call"]) else []), None
        calls = [call for (call,) in connection.execute(_CALLS, (after, _PAGE))]
        return calls_that_match(connection, wanted, calls), calls[-1] if len(calls) == _PAGE else None

    def count(self, connection: Queries, calls: Sequence[str]) -> int:
        """Return how many values are kept of some calls."""
        return sum(
            connection.execute("SELECT count(*) FROM payloads WHERE call_id = ?", (call,)).fetchone()[0]
            for call in calls
        )

    def erase(self, transaction: Transaction, calls: Sequence[str]) -> int:
        """Delete all that is kept of some calls, and return how many values that were. Nothing brings them back."""
        return sum(transaction.execute("DELETE FROM payloads WHERE call_id = ?", (call,)).rowcount for call in calls)
