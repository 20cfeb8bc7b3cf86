"""How many calls each limit has counted in its current window."""

from broker.store.transaction import Transaction

_READ = "SELECT start, calls FROM limit_counts WHERE workload = ? AND key = ? AND per = ?"
_WRITE = (
    "INSERT INTO limit_counts (workload, key, per, start, calls) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (workload, key, per) DO UPDATE SET start = excluded.start, calls = excluded.calls"
)


class LimitTable:
    """Counts calls, one row for each limit of a workload: a new window takes the place of the last."""

    def count(self, transaction: Transaction, which: tuple[str, str, str], start: int, length: int) -> int:
        """Count one call in the window that begins at `start`, and return how many that makes. Times are seconds.

        A clock that is set back by less than a window does not begin another count.
        """
        stored, calls = transaction.execute(_READ, which).fetchone() or (start, 0)
        if not start <= stored <= start + length:
            stored, calls = start, 0
        transaction.execute(_WRITE, (*which, stored, calls + 1))
        return int(calls) + 1
