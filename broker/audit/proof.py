"""Proofs about the tree: a record is in it, and a log of one size is the beginning of a larger one.

Paths are those of RFC 6962 §2.1.1 and §2.1.2; the checks are those of RFC 9162 §2.1.3.2 and §2.1.4.2. A proof of one
record travels as a C2SP tlog-proof, with the record itself as its extra data:

    c2sp.org/tlog-proof@v1
    extra eyJjYWxsX2lkIjoiMDE5OC…
    index 41
    lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c=

    access.example.com/log/production
    1042
    …
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from broker.audit.tree import node_hash

Subtree = Callable[[int, int], bytes]
"""Returns MTH(D[start:stop]); `start` is a multiple of a power of two that is no less than `stop - start`."""

_FORMAT = "c2sp.org/tlog-proof@v1"
_HASH_BYTES = 32
_LONGEST_PATH = 63


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return PATH(index, D[size]), from the leaf's sibling upward."""
    if not 0 <= index < size:
        raise ValueError(f"there is no record {index} in a log of {size}")
    start, stop, path = 0, size, []
    while stop - start > 1:
        split = start + _split(stop - start)
        if index < split:
            path.append(subtree(split, stop))
            stop = split
        else:
            path.append(subtree(start, split))
            start = split
    return path[::-1]


def consistency_path(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return PROOF(old, D[new]); it is empty where one of them is the other, or nothing."""
    if not 0 <= old <= new:
        raise ValueError(f"a log of {old} is not the beginning of one of {new}")
    start, stop, path, whole = 0, new, [], True
    while old and old < stop:
        split = start + _split(stop - start)
        if old <= split:
            path.append(subtree(split, stop))
            stop = split
        else:
            path.append(subtree(start, split))
            start, whole = split, False
    if path and not whole:
        path.append(subtree(start, stop))
    return path[::-1]


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Tell whether the path proves that the leaf hash stands at the index of the tree with the root."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *path):
        return False
    place, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def extends(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Tell whether the path proves that the tree of size `old` is the beginning of the one of size `new`."""
    if old == new > 0:
        return not path and old_root == new_root
    if not 0 < old < new or not _are_hashes(old_root, new_root, *path):
        return False
    whole = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not path or not whole:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = whole[0]
    for sibling in whole[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


@dataclass(frozen=True, slots=True)
class RecordProof:
    """A proof of one record (C2SP tlog-proof): `record` are its canonical bytes, `checkpoint` is a signed note."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    record: bytes | None = None

    def text(self) -> str:
        """Return it as a `.tlog-proof` file holds it."""
        extra = "" if self.record is None else f"extra {base64.b64encode(self.record).decode()}\n"
        return f"{_FORMAT}\n{extra}index {self.index}\n{hash_lines(self.path)}\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a `.tlog-proof` file; raise `ValueError` if it is none."""
        head, separator, checkpoint = text.partition("\n\n")
        first, *lines = head.split("\n")
        if first != _FORMAT or not separator:
            raise ValueError(f"this is not a proof of a record ({_FORMAT})")
        record = None
        if lines and lines[0].startswith("extra "):
            record = _decoded(lines.pop(0).removeprefix("extra "))
        number = lines.pop(0).removeprefix("index ") if lines and lines[0].startswith("index ") else ""
        if not (number.isascii() and number.isdecimal()) or str(int(number)) != number:
            raise ValueError("a proof of a record names the record's index")
        return cls(int(number), tuple(read_hash_lines("\n".join(lines))), checkpoint, record)


def hash_lines(hashes: Sequence[bytes]) -> str:
    """Return hashes in base64, a line each."""
    return "".join(base64.b64encode(one).decode() + "\n" for one in hashes)


def read_hash_lines(text: str) -> list[bytes]:
    """Read what `hash_lines` writes; raise `ValueError` for anything else."""
    lines = text.removesuffix("\n").split("\n") if text else []
    hashes = [_decoded(line) for line in lines]
    if len(hashes) > _LONGEST_PATH or not _are_hashes(*hashes):
        raise ValueError(f"a path has at most {_LONGEST_PATH} hashes of {_HASH_BYTES} bytes")
    return hashes


def _split(size: int) -> int:
    """Return the largest power of two that is less than the size."""
    return 1 << (size - 1).bit_length() - 1


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == _HASH_BYTES for value in values)


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or base64.b64encode(raw).decode() != text:
        raise ValueError("a line of the proof is not base64")
    return raw
