"""The trail's tables: sealed records, the stored nodes of their tree, and calls that are decided and not finished."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from broker.audit import Head, Record, Sealed, leaf_hash, seal
from broker.audit.tree import STORED_LEVELS, cover, fold, node_hash, restore
from broker.store.transaction import Transaction

_PAGE = 500
# Bytes, whatever somebody has made of a body: what is wrong with it is verify's to say
_ROWS = "SELECT seq, CAST(body AS BLOB) FROM records WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?"
_BODIES_OF_CALL = "SELECT CAST(body AS BLOB) FROM records WHERE call_id = ? AND body IS NOT NULL ORDER BY seq"
_RECORDS = "records (seq, body, hash, call_id)"
_NODES = "nodes (level, position, hash)"


class TrailTable:
    """Appends to and reads from the log of one name."""

    HEAD = "trail head"
    """The name under which a transaction carries the log's `Head`."""

    def __init__(self, log: str) -> None:
        self.log = log

    def append(self, transaction: Transaction, record: Record) -> Sealed:
        """Seal a record behind the last one. Durable with the transaction."""
        sealed, head = seal(self.log, transaction.values[self.HEAD], record)
        transaction.add(_RECORDS, (sealed.seq, sealed.body, sealed.hash, record.get("call_id")))
        for node in sealed.nodes:
            transaction.add(_NODES, (node.level, node.index, node.hash))
        transaction.values[self.HEAD] = head
        return sealed

    def open_call(self, transaction: Transaction, call_id: str, decided: str) -> None:
        """Note that a call is decided and may have effects: until it is closed, its outcome is unknown."""
        transaction.add("open_calls (call_id, decided)", (call_id, decided))

    def close_call(self, transaction: Transaction, call_id: str) -> None:
        """Note that a call has its last record."""
        transaction.take("open_calls WHERE call_id", call_id)

    def open_calls(self, connection: sqlite3.Connection) -> list[tuple[str, str]]:
        """Return (call id, time of decision) of every call that is decided and not finished."""
        return connection.execute("SELECT call_id, decided FROM open_calls ORDER BY decided, call_id").fetchall()

    def restore(self, connection: sqlite3.Connection) -> Head:
        """Rebuild the log's head from the tables.

        Raises `ValueError` if they do not agree with each other, or hold another log. Only the records that no stored
        node covers, and the last one, are read: whether all are unchanged is `verify`'s to say.
        """
        (size,) = connection.execute("SELECT coalesce(max(seq) + 1, 0) FROM records").fetchone()
        if size == 0:
            return Head()
        last, body = connection.execute("SELECT hash, body FROM records WHERE seq = ?", (size - 1,)).fetchone()
        _check_leaf(size - 1, last, body)
        if (log := _log_of(body)) != self.log:
            raise ValueError(f"it is the log {log!r}, not {self.log!r}; a store keeps the name that it was made with")

        def stored(level: int, start: int, stop: int) -> Iterator[bytes]:
            query = (
                "SELECT seq, hash, body FROM records WHERE seq >= ? AND seq < ? ORDER BY seq"
                if level == 0
                else "SELECT position, hash, NULL FROM nodes "
                "WHERE position >= ? AND position < ? AND level = ? ORDER BY position"
            )
            rows = connection.execute(query, (start, stop) if level == 0 else (start, stop, level)).fetchall()
            if [position for position, _, _ in rows] != list(range(start, stop)):
                raise ValueError("records of the trail, or nodes of its tree, are missing")
            for position, node, body in rows:
                if level == 0 and body is not None:  # None: it was pruned
                    _check_leaf(position, node, body)
                elif not isinstance(node, bytes):
                    raise ValueError("a node of the trail's tree is no hash")
                yield node

        return restore(size, last, stored)

    def head_at(self, connection: sqlite3.Connection, size: int) -> Head:
        """Return the log's head when it had so many records; raise `ValueError` if it has not, or lacks hashes."""
        if not size:
            return Head()
        peaks = tuple(self._node(connection, level, index) for level, index in cover(0, size))
        return Head(size, peaks, self._node(connection, 0, size - 1))

    def subtree(self, connection: sqlite3.Connection, start: int, stop: int) -> bytes:
        """Return MTH(D[start:stop]) of RFC 6962 §2.1, for a subtree that begins where one can."""
        return fold(self.cover(connection, start, stop))

    def cover(self, connection: sqlite3.Connection, start: int, stop: int) -> list[bytes]:
        """Return the hashes of the fewest complete subtrees that make up the records start to stop - 1, in order."""
        return [self._node(connection, level, index) for level, index in cover(start, stop)]

    def _node(self, connection: sqlite3.Connection, level: int, index: int) -> bytes:
        """Return the hash of one complete subtree, from at most 128 that are stored."""
        stored = level // STORED_LEVELS * STORED_LEVELS
        first, last = index << level - stored, (index + 1 << level - stored)
        rows = connection.execute(
            "SELECT hash FROM records WHERE seq >= ? AND seq < ? ORDER BY seq"
            if stored == 0
            else "SELECT hash FROM nodes WHERE position >= ? AND position < ? AND level = ? ORDER BY position",
            (first, last) if stored == 0 else (first, last, stored),
        )
        hashes = [row[0] for row in rows]
        if len(hashes) != last - first or not all(isinstance(one, bytes) for one in hashes):
            raise ValueError("records of the trail, or nodes of its tree, are missing")
        while len(hashes) > 1:
            hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
        return bytes(hashes[0])

    def rows(self, connection: sqlite3.Connection, start: int, stop: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield (seq, canonical bytes) of records start to stop - 1, in order; None where a body was pruned."""
        while start < stop:
            page = connection.execute(_ROWS, (start, stop, _PAGE)).fetchall()
            if not page:
                return
            yield from page
            start = page[-1][0] + 1

    def bodies(self, connection: sqlite3.Connection, start: int, stop: int) -> Iterator[bytes]:
        """Yield what is there of records start to stop - 1, in order: those that were pruned are passed over."""
        return (body for _, body in self.rows(connection, start, stop) if body is not None)

    def of_call(self, connection: sqlite3.Connection, call_id: str) -> list[bytes]:
        """Return the canonical bytes of a call's records, in order."""
        rows = connection.execute(_BODIES_OF_CALL, (call_id,))
        return [body for (body,) in rows]


def _check_leaf(seq: int, stored: Any, body: Any) -> None:
    if not isinstance(body, bytes) or leaf_hash(body) != stored:
        raise ValueError(f"record {seq} of the trail is not what it was when it was written")


def _log_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["log"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("the last record of the trail cannot be read") from None
