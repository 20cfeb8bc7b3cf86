"""A record: what happened, as an object of plain values, sealed into its place in the log.

{"call_id":"0197…","decision":{…},"id":"0197…","kind":"decided","log":"access.envisionai.dev/log/prod",
"prev_hash":"9f86…","seq":41,"time":"2026-11-23T21:54:07.123Z","v":1}
"""

import datetime
import itertools
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.audit.canonical import canonical
from broker.audit.tree import Head, Node, leaf_hash

VERSION = 1
LARGEST = 65_535  # bytes of one leaf; C2SP tlog-tiles gives an entry's length sixteen bits
NO_HASH = "0" * 64

_COUNTER = itertools.count(int.from_bytes(os.urandom(4)))
_PROCESS = os.urandom(4).hex()

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record in its place: its canonical bytes, which are the leaf, and the nodes of the tree that it completed."""

    seq: int
    body: bytes
    hash: bytes
    nodes: list[Node]


def seal(log: str, head: Head, record: Record) -> tuple[Sealed, Head]:
    """Return the record sealed behind `head`, and the head after it; raise `ValueError` if it cannot be recorded."""
    whole = {**record, "v": VERSION, "log": log, "seq": head.size, "prev_hash": head.last.hex()}
    body = canonical(whole)
    if len(body) > LARGEST:
        raise ValueError(f"a record of {len(body)} bytes is over {LARGEST}")
    leaf = leaf_hash(body)
    grown, nodes = head.grow(leaf, 0, last=leaf)
    return Sealed(head.size, body, leaf, nodes), grown


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562 §5.7): ids of one process made later sort later, as long as its clock runs forward.

    What follows the milliseconds is a counter from a random start (§6.2, method 1) and bits of this process; an id is
    unique, and no secret.
    """
    number = next(_COUNTER)
    milliseconds = time.time_ns() // 1_000_000
    counted = number >> 30 & 0xFFF, 0x8000 | number >> 16 & 0x3FFF, number & 0xFFFF
    text = f"{milliseconds:012x}7{counted[0]:03x}{counted[1]:04x}{counted[2]:04x}{_PROCESS}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def timestamp(seconds: float | None = None) -> str:
    """Return a moment (seconds since the epoch; now, if None) as RFC 3339 in UTC, to the millisecond."""
    moment = datetime.datetime.fromtimestamp(time.time() if seconds is None else seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"
