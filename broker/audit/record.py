"""A record: what happened, as an object of plain values, sealed into its place in the log.

{"call_id":"0197…","decision":{…},"id":"0197…","kind":"decided","log":"access.envisionai.dev/log/prod",
"prev_hash":"9f86…","seq":41,"time":"2026-11-23T21:54:07.123Z","v":1}
"""

import datetime
import functools
import itertools
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from broker.audit.canonical import canonical
from broker.audit.tree import Head, Node, leaf_hash

VERSION = 1
LARGEST = 65_535  # bytes of one leaf; C2SP tlog-tiles gives an entry's length sixteen bits
NO_HASH = "0" * 64

_COUNTER = itertools.count(int.from_bytes(os.urandom(4)))
_PROCESS = os.urandom(4).hex()

Record = Mapping[str, Any]


class Sealed(NamedTuple):
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
    number, milliseconds = next(_COUNTER), time.time_ns() // 1_000_000
    return (
        f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{number >> 30 & 0xFFF:03x}"
        f"-{0x8000 | number >> 16 & 0x3FFF:04x}-{number & 0xFFFF:04x}{_PROCESS}"
    )


def timestamp(seconds: float | None = None) -> str:
    """Return a moment (seconds since the epoch; now, if None) as RFC 3339 in UTC, to the millisecond."""
    if seconds is None:
        whole, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
        return f"{_second(whole)}.{milliseconds:03d}Z"
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


@functools.lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
