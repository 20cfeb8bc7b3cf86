r"""What an export begins with: which log it is of, the signed head that it rests on, and what was left out of it.

An export is JSON Lines: the statement; then, in order, each record's canonical bytes, or a gap where records are not in
it, with the hashes of the complete subtrees that they make up:

    {"checkpoint":"access.example.com/log/production\n3\n…","export":"access.envisionai.dev/trail/v1","filter":{},…}
    {"id":"0197…","kind":"started",…,"prev_hash":"000…","seq":0,"v":1}
    {"gap":{"hashes":["5b1c…"],"start":1,"stop":3,"why":"pruned"}}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from broker.audit.canonical import canonical
from broker.audit.checkpoint import Checkpoint, LogKey, open_checkpoint
from broker.audit.note import VerifierKey
from broker.audit.tree import Head, cover

FORMAT = "access.envisionai.dev/trail/v1"
_HEX = 64
Why = Literal["filtered", "pruned"]


@dataclass(frozen=True, slots=True)
class Statement:
    """What is claimed of a log: its name, size, root hash and last record's leaf hash; the signed checkpoint of it.

    `keys` are the log's, the oldest first; whether any is to be trusted, the export cannot say. `filter` is empty for
    an export of everything.
    """

    log: str
    size: int
    root: str
    last: str
    checkpoint: str = ""
    keys: tuple[LogKey, ...] = ()
    filter: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, log: str, head: Head, checkpoint: str = "", keys: Sequence[LogKey] = (), **wanted: str) -> Self:
        """Return the statement of a head."""
        return cls(log, head.size, head.root().hex(), head.last.hex(), checkpoint, tuple(keys), wanted)

    def line(self) -> bytes:
        """Return it as the first line of an export, without the line's end."""
        return canonical(
            {
                "export": FORMAT,
                "log": self.log,
                "size": self.size,
                "root": self.root,
                "last": self.last,
                "checkpoint": self.checkpoint,
                "keys": [{"vkey": str(one.key), "endorsement": one.endorsement} for one in self.keys],
                "filter": dict(self.filter),
            }
        )

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read the first line of an export; raise `ValueError` if it is none."""
        try:
            stated = json.loads(line)
            keys = tuple(LogKey(VerifierKey.parse(one["vkey"]), one["endorsement"]) for one in stated["keys"])
            statement = cls(
                stated["log"],
                stated["size"],
                stated["root"],
                stated["last"],
                stated["checkpoint"],
                keys,
                stated["filter"],
            )
            if _is_well_formed(statement) and statement.line() == line:
                return statement
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            pass
        raise ValueError(f"the first line is not the statement of a trail export ({FORMAT})")

    def check_signed(self, trusted: Sequence[VerifierKey]) -> list[VerifierKey]:
        """Return which trusted keys signed its head; raise `ValueError` if none did, or they signed another head."""
        if not self.checkpoint:
            raise ValueError("the head is not signed")
        checkpoint, signers = open_checkpoint(self.checkpoint, trusted)
        if checkpoint != Checkpoint(self.log, self.size, bytes.fromhex(self.root)):
            raise ValueError("the signed checkpoint is of another head than the one that is stated")
        return signers


def _is_well_formed(stated: Statement) -> bool:
    texts = [stated.log, stated.root, stated.last, stated.checkpoint, *stated.filter.values()]
    texts += [one.endorsement for one in stated.keys if one.endorsement is not None]
    return type(stated.size) is int and stated.size >= 0 and all(type(one) is str for one in texts)


@dataclass(frozen=True, slots=True)
class Gap:
    """Records start to stop - 1, which are not in an export, as the hashes of the subtrees that cover them."""

    start: int
    stop: int
    why: Why
    hashes: tuple[bytes, ...]

    def line(self) -> bytes:
        """Return it as a line of an export, without the line's end."""
        hashes = [one.hex() for one in self.hashes]
        return canonical({"gap": {"start": self.start, "stop": self.stop, "why": self.why, "hashes": hashes}})

    @classmethod
    def parse(cls, line: bytes) -> Self | None:
        """Read a line of an export as a gap; return None for a record, and raise `ValueError` for neither."""
        if not line.startswith(b'{"gap":'):  # a record's first key is "action" or later, and a gap has but one
            return None
        try:
            found: dict[str, Any] = json.loads(line)["gap"]
            hashes = tuple(bytes.fromhex(one) for one in found["hashes"] if len(one) == _HEX)
            gap = cls(found["start"], found["stop"], found["why"], hashes)
            if (
                type(gap.start) is int
                and type(gap.stop) is int
                and 0 <= gap.start < gap.stop
                and gap.why in {"filtered", "pruned"}
                and len(hashes) == len(list(cover(gap.start, gap.stop)))
                and gap.line() == line
            ):
                return gap
        except (ValueError, RecursionError, KeyError, TypeError):
            pass
        raise ValueError("this is not a gap as an export writes it")

    def onto(self, head: Head) -> Head:
        """Return the head of the log with the gap's records appended; their last leaf hash is known of single ones."""
        level = 0
        for (level, _), one in zip(cover(self.start, self.stop), self.hashes, strict=True):
            head, _ = head.grow(one, level, last=one)
        return head if level == 0 else Head(head.size, head.peaks, b"")
