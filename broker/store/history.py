"""The sets of documents that came into force, and the contents of their files, each kept once under its SHA-256."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.store.transaction import Transaction

_COLUMNS = "seq, record, kind, time, digest, files, outline, agents, facts"
_ADD_SET = f"INSERT INTO document_sets ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
# What somebody has made of a content that was kept before is mended
_ADD_FILE = (
    "INSERT INTO document_files (sha256, content) VALUES (?, ?) ON CONFLICT (sha256) DO UPDATE "
    "SET content = excluded.content WHERE content IS NOT excluded.content"
)


@dataclass(frozen=True, slots=True)
class SetRow:
    """A set that came into force with the record of a number.

    `files` are the SHA-256 by name (None: a file that is named and was not there); `outline` is [kind, name, SHA-256]
    for each document; `agents` and `facts` are as the record's writer gave them.
    """

    seq: int
    record: str
    kind: str
    time: str
    digest: str
    files: Mapping[str, str | None]
    outline: list[list[str]]
    agents: list[dict[str, Any]]
    facts: Mapping[str, Any]


Reads = sqlite3.Connection | Transaction


class HistoryTable:
    """Reads and writes sets; nothing of it is ever changed or taken away."""

    def add(self, transaction: Transaction, row: SetRow, contents: Mapping[str, bytes]) -> None:
        """Keep a set, and contents by their SHA-256; those of its files that are not among them are digests only."""
        parts = (json.dumps(part) for part in (row.files, row.outline, row.agents, row.facts))
        transaction.execute(_ADD_SET, (row.seq, row.record, row.kind, row.time, row.digest, *parts))
        for sha256, content in contents.items():
            transaction.execute(_ADD_FILE, (sha256, content))

    def last(self, connection: Reads, count: int = 1, before: int | None = None) -> list[SetRow]:
        """Return the sets that came into force last, the newest first; with `before`, only those of lower numbers."""
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM document_sets WHERE seq < ? ORDER BY seq DESC LIMIT ?",  # noqa: S608 - constants
            (2**62 if before is None else before, count),
        )
        return [_row(row) for row in rows]

    def find(self, connection: sqlite3.Connection, digest: str) -> SetRow | None:
        """Return a set, as it came into force last; None if it never did."""
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM document_sets WHERE digest = ? ORDER BY seq DESC LIMIT 1",  # noqa: S608 - constants
            (digest,),
        ).fetchone()
        return None if row is None else _row(row)

    def digests(self, connection: sqlite3.Connection, prefix: str, most: int) -> list[str]:
        """Return the digests of sets that begin so, each once."""
        rows = connection.execute(
            "SELECT DISTINCT digest FROM document_sets WHERE substr(digest, 1, ?) = ? ORDER BY digest LIMIT ?",
            (len(prefix), prefix, most),
        )
        return [digest for (digest,) in rows]

    def content(self, connection: sqlite3.Connection, sha256: str) -> bytes | None:
        """Return a content that is kept, as it is stored; None if it is not."""
        row = connection.execute("SELECT content FROM document_files WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else bytes(row[0])

    def kept(self, connection: sqlite3.Connection, digests: Iterable[str]) -> set[str]:
        """Return which of these contents are kept."""
        found = "SELECT 1 FROM document_files WHERE sha256 = ?"
        return {one for one in digests if connection.execute(found, (one,)).fetchone() is not None}


def _row(row: tuple[Any, ...]) -> SetRow:
    return SetRow(*row[:5], *(json.loads(part) for part in row[5:]))
