"""The trail as an export: a statement of a signed head, then every record that is wanted, and gaps for the others."""

from collections.abc import Iterable, Iterator
from typing import Literal

from broker.audit import Gap, Statement
from broker.audit.proof import consistency_path, inclusion_path
from broker.store import Connection
from broker.store.trail import TrailTable

Range = tuple[int, int]
"""Records by their numbers, the first and the one after the last."""


def export_lines(
    trail: TrailTable, connection: Connection, stated: Statement, wanted: Iterable[Range]
) -> Iterator[bytes]:
    """Yield the lines of an export, without their ends; `wanted` are ranges in order, apart from each other."""
    yield stated.line()
    reached = 0
    for start, stop in wanted:
        if start > reached:
            yield _gap(trail, connection, (reached, start), "filtered")
        yield from _records(trail, connection, start, stop)
        reached = stop
    # The last record by itself: the statement names its hash, which is then in a line
    if stated.size - reached > 1:
        yield _gap(trail, connection, (reached, stated.size - 1), "filtered")
        reached = stated.size - 1
    if reached < stated.size:
        yield _gap(trail, connection, (reached, stated.size), "filtered")


def _records(trail: TrailTable, connection: Connection, start: int, stop: int) -> Iterator[bytes]:
    """Yield the records of a range, and one gap for each run of pruned ones."""
    pruned: int | None = None
    for seq, body in trail.rows(connection, start, stop):
        if body is None:
            pruned = seq if pruned is None else pruned
            continue
        if pruned is not None:
            yield _gap(trail, connection, (pruned, seq), "pruned")
            pruned = None
        yield body
    if pruned is not None:
        yield _gap(trail, connection, (pruned, stop), "pruned")


def _gap(trail: TrailTable, connection: Connection, missing: Range, why: Literal["filtered", "pruned"]) -> bytes:
    return Gap(*missing, why, tuple(trail.cover(connection, *missing))).line()


def inclusion(trail: TrailTable, connection: Connection, seq: int, size: int) -> list[bytes]:
    """Return the path that proves a record in the log of a size (RFC 6962 §2.1.1)."""
    return inclusion_path(seq, size, lambda start, stop: trail.subtree(connection, start, stop))


def consistency(trail: TrailTable, connection: Connection, old: int, new: int) -> list[bytes]:
    """Return the path that proves that the log of one size grew out of that of another (RFC 6962 §2.1.2)."""
    return consistency_path(old, new, lambda start, stop: trail.subtree(connection, start, stop))
