import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audit import Head, leaf_hash
from broker.audit.tree import restore

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/merkle-happy-paths.json").read_text())


@cache
def reference(start: int, stop: int) -> bytes:
    """Return MTH(D[start:stop]) as RFC 6962 §2.1 defines it; the leaves are their numbers."""
    size = stop - start
    if size < 2:
        return hashlib.sha256(b"\x00" + str(start).encode() if size else b"").digest()
    split = start + next(2**power for power in range(64) if 2**power < size <= 2 ** (power + 1))
    return hashlib.sha256(b"\x01" + reference(start, split) + reference(split, stop)).digest()


def test_roots_are_those_that_rfc_6962_defines() -> None:
    """Issue 2, Trail: leaves of an RFC 6962 tree; the judge is the recursive definition."""
    head = Head()

    for size in range(601):
        assert head.root() == reference(0, size)
        head = head.append(leaf_hash(str(size).encode()))


def test_roots_and_leaves_are_those_of_certificate_transparency() -> None:
    """audit.md C2: the published vectors, made by others."""
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]
    heads = list(accumulate(leaves, Head.append, initial=Head()))

    for case in VECTORS["inclusion"].values():
        assert leaves[case["leafIdx"]] == base64.b64decode(case["leafHash"])
        assert heads[case["treeSize"]].root() == base64.b64decode(case["root"])
    for case, end in ((case, end) for case in VECTORS["consistency"].values() for end in "12"):
        assert heads[case["size" + end]].root() == base64.b64decode(case["root" + end])


def test_a_log_is_taken_up_from_what_was_stored_of_it() -> None:
    """tree.py, restore: the same head at every size up to 600, and around the second stored level."""
    head, levels = Head(), defaultdict[int, list[bytes]](list)

    for size in range(2**16 + 3):
        if size <= 600 or size % 2**14 in {0, 1, 2**14 - 1}:
            assert restore(size, head.last, lambda level, start, stop: iter(levels[level][start:stop])) == head
        leaf = leaf_hash(str(size).encode())
        head, nodes = head.grow(leaf, 0, last=leaf)
        levels[0].append(leaf)
        for node in nodes:
            assert node.index == len(levels[node.level])
            levels[node.level].append(node.hash)

    assert {level: len(hashes) for level, hashes in levels.items()} == {0: 65_539, 8: 256, 16: 1}


@given(st.integers(0, 700) | st.integers(0, 2**53 - 1))
@settings(max_examples=50)
def test_a_log_of_any_size_is_taken_up_at_once(size: int) -> None:
    """tree.py, restore: at most 255 are asked for on each stored level, whatever the size, and none is left out."""
    asked: list[tuple[int, int, int]] = []

    def stored(level: int, start: int, stop: int) -> Iterator[bytes]:
        assert stop - start <= 255
        asked.append((level, start, stop))
        return iter([bytes(32)] * (stop - start))

    assert restore(size, bytes(32), stored).size == size
    assert [level for level, _, _ in asked] == list(range(asked[0][0], -1, -8))
    assert [start << level for level, start, _ in asked] == [0, *(stop << level for level, _, stop in asked)][:-1]
