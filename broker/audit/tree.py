"""The Merkle tree over the records (RFC 6962 §2.1), kept as the few hashes that a growing log needs."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

STORED_LEVELS = 8  # every eighth level of the tree is stored, so that a log of any size is taken up again at once


def leaf_hash(data: bytes) -> bytes:
    """Return SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Node:
    """A complete subtree of 2**level leaves: the index-th of its level, from the left."""

    level: int
    index: int
    hash: bytes


class Head(NamedTuple):
    """The log at one size: the roots of its complete subtrees, largest first, and the last record's leaf hash."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()
    last: bytes = bytes(32)

    def append(self, leaf: bytes) -> Self:
        """Return the head of the log with one more record."""
        return self.grow(leaf, 0, last=leaf)[0]

    def grow(self, subtree: bytes, level: int, *, last: bytes) -> tuple[Self, list[Node]]:
        """Return the head with one more complete subtree, and the nodes to store that this completed."""
        grown, peaks, node = self.size + (1 << level), list(self.peaks), subtree
        completed: list[Node] = []
        while self.size >> level & 1:  # a complete neighbour of the same size stands to the left: merge
            node = node_hash(peaks.pop(), node)
            level += 1
            if level % STORED_LEVELS == 0:
                completed.append(Node(level, self.size >> level, node))
        peaks.append(node)
        return type(self)(grown, tuple(peaks), last), completed

    def root(self) -> bytes:
        """Return the root hash, MTH(D[size])."""
        return fold(self.peaks)


def cover(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield (level, index) of the fewest complete subtrees that make up the leaves start to stop - 1, in order."""
    while start < stop:
        aligned = (start & -start).bit_length() - 1 if start else 63
        level = min(aligned, (stop - start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over complete subtrees, largest first; MTH of nothing for none."""
    if not hashes:
        return hashlib.sha256().digest()
    root = hashes[-1]
    for one in reversed(hashes[:-1]):
        root = node_hash(one, root)
    return root


def restore(size: int, last: bytes, stored: Callable[[int, int, int], Iterator[bytes]]) -> Head:
    """Rebuild the head of a log from what is stored of its tree.

    `stored(level, start, stop)` yields the hashes of a level's nodes in order; level 0 are the leaves. At most 255 are
    asked for on each stored level, whatever the size.
    """
    head = Head(last=last)
    top = (max(size, 1).bit_length() - 1) // STORED_LEVELS * STORED_LEVELS
    for level in range(top, -1, -STORED_LEVELS):
        start, stop = head.size >> level, size >> level
        for node in stored(level, start, stop):
            head, _ = head.grow(node, level, last=last)
    return head
