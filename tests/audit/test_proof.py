import base64
import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audit import RecordProof, leaf_hash
from broker.audit.proof import consistency_path, extends, hash_lines, includes, inclusion_path, read_hash_lines
from broker.audit.tree import node_hash
from tests.support.evidence import Log

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/merkle-proofs.json").read_text())
LARGEST = 64


@cache
def mth(start: int, stop: int) -> bytes:
    """Return MTH(D[start:stop]) as RFC 6962 §2.1 defines it; the leaves are their numbers."""
    if stop - start == 1:
        return leaf_hash(str(start).encode())
    split = start + below(stop - start)
    return node_hash(mth(start, split), mth(split, stop))


def below(size: int) -> int:
    """Return the largest power of two that is less than the size."""
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def path(index: int, start: int, stop: int) -> list[bytes]:
    """Return PATH(index, D[start:stop]) as RFC 6962 §2.1.1 defines it."""
    if stop - start == 1:
        return []
    split = below(stop - start)
    if index < split:
        return [*path(index, start, start + split), mth(start + split, stop)]
    return [*path(index - split, start + split, stop), mth(start, start + split)]


def subproof(old: int, start: int, stop: int, *, whole: bool) -> list[bytes]:
    """Return SUBPROOF(old, D[start:stop], whole) as RFC 6962 §2.1.2 defines it."""
    if old == stop - start:
        return [] if whole else [mth(start, stop)]
    split = below(stop - start)
    if old <= split:
        return [*subproof(old, start, start + split, whole=whole), mth(start + split, stop)]
    return [*subproof(old - split, start + split, stop, whole=False), mth(start, start + split)]


def decoded(case: dict[str, Any], *names: str) -> list[bytes]:
    """Return members of a vector."""
    return [base64.b64decode(case[name] or "") for name in names]


@pytest.mark.parametrize("name", VECTORS["inclusion"])
def test_published_inclusion_proofs_behave(name: str) -> None:
    """Issue 3: the published vectors all behave; corrupted, cut, swapped and extended proofs are refused."""
    case = VECTORS["inclusion"][name]
    leaf, root = decoded(case, "leafHash", "root")
    proof = [base64.b64decode(one) for one in case["proof"] or []]

    assert includes(leaf, case["leafIdx"], case["treeSize"], proof, root) is not case["wantErr"]


@pytest.mark.parametrize("name", VECTORS["consistency"])
def test_published_consistency_proofs_behave(name: str) -> None:
    """Issue 3: the published vectors all behave."""
    case = VECTORS["consistency"][name]
    before, after = decoded(case, "root1", "root2")
    proof = [base64.b64decode(one) for one in case["proof"] or []]

    assert extends(case["size1"], case["size2"], proof, before, after) is not case["wantErr"]


def test_every_inclusion_path_of_small_logs_is_the_one_that_rfc_6962_defines_and_proves_it() -> None:
    """RFC 6962 §2.1.1, without chance: every record of every size up to 64, and no other place."""
    for size in range(1, LARGEST + 1):
        for index in range(size):
            found = inclusion_path(index, size, mth)
            assert found == path(index, 0, size)
            assert includes(mth(index, index + 1), index, size, found, mth(0, size))
            assert not includes(mth(index, index + 1), (index + 1) % (size + 1), size, found, mth(0, size))


def test_every_consistency_path_of_small_logs_is_the_one_that_rfc_6962_defines_and_proves_it() -> None:
    """RFC 6962 §2.1.2, without chance: every two sizes up to 64, and no other two."""
    for new in range(1, LARGEST + 1):
        for old in range(1, new + 1):
            found = consistency_path(old, new, mth)
            assert found == subproof(old, 0, new, whole=True)
            assert extends(old, new, found, mth(0, old), mth(0, new))
            assert old == new or not extends(old, new, found, mth(0, new), mth(0, old))
            assert not extends(old, new, found, bytes(32), mth(0, new))
            assert not extends(old, new, found, mth(0, old), bytes(32))
            assert old == 1 or not extends(old - 1, new, found, mth(0, old), mth(0, new))
        assert consistency_path(0, new, mth) == []


@given(st.integers(1, 3000).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))), st.randoms())
@settings(max_examples=60)
def test_a_path_proves_one_record_and_a_changed_one_proves_nothing(place: tuple[int, int], random: Any) -> None:
    """proof.py: larger logs; any hash of the path that is changed, left out, added or swapped is found."""
    size, index = place
    found, leaf, root = inclusion_path(index, size, mth), mth(index, index + 1), mth(0, size)

    assert includes(leaf, index, size, found, root)
    for wrong in changed(found, random):
        assert not includes(leaf, index, size, wrong, root)
    assert not includes(bytes(32), index, size, found, root)
    assert not includes(leaf, index, size, found, bytes(32))


@given(st.integers(2, 3000).flatmap(lambda new: st.tuples(st.integers(1, new - 1), st.just(new))), st.randoms())
@settings(max_examples=60)
def test_a_path_proves_one_growth_and_a_changed_one_proves_nothing(sizes: tuple[int, int], random: Any) -> None:
    """proof.py: larger logs, as above."""
    old, new = sizes
    found = consistency_path(old, new, mth)

    assert extends(old, new, found, mth(0, old), mth(0, new))
    for wrong in changed(found, random):
        assert not extends(old, new, wrong, mth(0, old), mth(0, new))


def changed(path: list[bytes], random: Any) -> list[list[bytes]]:
    """Return paths that differ from one."""
    at = random.randrange(len(path)) if path else 0
    wrong = [[*path, bytes(32)], [bytes(32), *path], [*path[:at], bytes(32), *path[at + 1 :]], path[:-1], path[1:]]
    wrong += [[*path[:at], *path[at + 1 :]], [one[:-1] for one in path]]
    wrong += [[*path[:here], second, first, *path[here + 2 :]] for here, (first, second) in enumerate(pairwise(path))]
    return [one for one in wrong if one != path]


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (5, 3)])
def test_there_is_no_path_to_a_record_that_is_not_there(index: int, size: int) -> None:
    """proof.py: neither made nor believed."""
    assert not includes(mth(0, 1), index, size, [], mth(0, 1))
    with pytest.raises(ValueError, match="there is no record"):
        inclusion_path(index, size, mth)


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3)])
def test_a_log_never_shrinks(old: int, new: int) -> None:
    """proof.py: neither made nor believed."""
    assert not extends(old, new, [], mth(0, 3), mth(0, 3))
    with pytest.raises(ValueError, match="is not the beginning"):
        consistency_path(old, new, mth)


def test_a_proof_of_one_record_is_written_byte_for_byte_as_c2sp_says() -> None:
    """C2SP tlog-proof: a header, extra data, the index, the path, an empty line, the checkpoint verbatim."""
    log = Log().grown(5)
    proof = log.proof(3)
    siblings = [base64.b64encode(one).decode() for one in path_of(log, 3)]

    assert proof.text() == (
        "c2sp.org/tlog-proof@v1\n"
        f"extra {base64.b64encode(log.bodies[3]).decode()}\n"
        "index 3\n" + "".join(f"{one}\n" for one in siblings) + "\n" + log.checkpoint()
    )
    assert RecordProof.parse(proof.text()) == proof


def path_of(log: Log, index: int) -> list[bytes]:
    """Return the path to record 3 of 5, by hand."""
    assert index == 3
    leaves = [leaf_hash(body) for body in log.bodies]
    return [leaves[2], node_hash(leaves[0], leaves[1]), leaves[4]]


def test_a_proof_may_hold_no_record_and_need_no_path() -> None:
    """C2SP tlog-proof: extra data are optional; the only record of a log is its root."""
    proof = RecordProof(0, (), Log().grown(1).checkpoint())

    assert proof.text().startswith("c2sp.org/tlog-proof@v1\nindex 0\n\naccess.")
    assert RecordProof.parse(proof.text()) == proof


GOOD = Log().grown(5).proof(3).text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.replace("@v1", "@v2"),
        GOOD.replace("index 3\n", ""),
        GOOD.replace("index 3", "index 03"),
        GOOD.replace("index 3", "index -3"),
        GOOD.replace("index 3", "index ٣"),
        GOOD.replace("index 3", "index " + "9" * 5000),
        GOOD.replace("index 3", "Index 3"),
        GOOD.replace("extra ", "extra  "),
        GOOD.replace("extra ", "extra !"),
        GOOD.replace("index 3\n", "index 3\n\n"),
        GOOD.replace("index 3\n", "index 3\nAAAA\n"),
        GOOD.replace("index 3\n", "index 3\n" + hash_lines([bytes(32)] * 64)),
        GOOD.replace("\n", "\r\n"),
        GOOD.partition("\n\n")[0],
    ],
    ids=lambda text: repr(text)[22:44],
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    """proof.py, parse: one way of writing; a path is at most 63 hashes."""
    with pytest.raises(ValueError, match=r"."):
        RecordProof.parse(text).checkpoint.index("access.example.com/log/test\n5\n", 0, 30)


@given(st.text() | st.text().map(lambda text: GOOD.partition("\n")[0] + "\n" + text))
def test_any_text_is_a_proof_or_refused(text: str) -> None:
    """proof.py, parse: `ValueError` if it is none, and nothing else."""
    try:
        proof = RecordProof.parse(text)
    except ValueError:
        return
    assert proof.text() == text


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_hashes_are_read_as_they_are_written(hashes: list[bytes]) -> None:
    """proof.py: a hash in base64, a line each."""
    assert read_hash_lines(hash_lines(hashes)) == hashes
