"""Pruning: which records are past their time, and forgetting what they said. Their places and hashes stay."""

from collections.abc import Iterable, Sequence

from broker.store.conditions import Queries
from broker.store.transaction import Transaction

KEPT = (
    "trail_pruned",
    "hold_added",
    "hold_released",
    "payloads_erased",
    "signing_key_made",
    "signing_key_rotated",
    "shipped_head_missing",
    "trail_rolled_back",
    "clock_set_back",
)
"""What explains the trail itself is never pruned: without it, nobody could tell pruning from loss."""

_TIME = "json_extract(CAST({0}.body AS TEXT), '$.time')"
_VALID = "json_valid(CAST({0}.body AS TEXT))"
# Of a call, all records are past their time, or none is; what cannot be read is evidence of something, and stays
_PAST = f"""
    SELECT one.seq, one.call_id FROM records AS one
    WHERE one.seq >= ? AND one.seq < ? AND one.body IS NOT NULL AND {_VALID.format("one")}
      AND {_TIME.format("one")} < ?
      AND json_extract(CAST(one.body AS TEXT), '$.kind') NOT IN ({", ".join("?" * len(KEPT))})
      AND (one.call_id IS NULL OR (
        one.call_id NOT IN (SELECT call_id FROM open_calls)
        AND NOT EXISTS (
          SELECT 1 FROM records AS other WHERE other.call_id = one.call_id AND other.body IS NOT NULL
            AND NOT ({_VALID.format("other")} AND {_TIME.format("other")} < ?))))
    ORDER BY one.seq LIMIT ?
"""  # noqa: S608 - constants

Past = tuple[int, str | None]
"""A record's number, and its call if it is of one."""


def past(connection: Queries, start: int, stop: int, before: str, limit: int) -> list[Past]:
    """Return the first records of start to stop - 1 that are older than `before` (RFC 3339, UTC) and may be pruned."""
    return list(connection.execute(_PAST, (start, stop, before, *KEPT, before, limit)))


def forget(transaction: Transaction, seqs: Iterable[int]) -> None:
    """Delete what records said. The leaf hash of each stays, so everything proved by the tree stays proved."""
    for seq in seqs:
        transaction.execute("UPDATE records SET body = NULL WHERE seq = ?", (seq,))


def ranges_of(seqs: Sequence[int]) -> list[list[int]]:
    """Return numbers in ascending order as ranges: [the first, the one after the last]."""
    ranges: list[list[int]] = []
    for seq in seqs:
        if ranges and ranges[-1][1] == seq:
            ranges[-1][1] = seq + 1
        else:
            ranges.append([seq, seq + 1])
    return ranges
