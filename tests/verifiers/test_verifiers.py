"""Issue 3: three independent verifiers agree, on what holds and on what does not."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.audit import VerifierKey
from broker.audit.check import check
from tests.support.evidence import Log, flipped

FROZEN = Path(__file__).parent.parent / "vectors/frozen/v1"
THREE = ["raw_ed25519", *(pytest.param(name, marks=pytest.mark.slow) for name in ("aics", "go"))]
BOTH = [pytest.param(name, marks=pytest.mark.slow) for name in ("aics", "go")]
Change = Callable[[bytes], bytes]


def root_changed(checkpoint: bytes) -> bytes:
    """Put another root in its place."""
    log, size, _, rest = checkpoint.split(b"\n", 3)
    return b"\n".join((log, size, base64.b64encode(bytes(32)), rest))


def record_changed(records: bytes) -> bytes:
    """Change a byte of the last record."""
    return flipped(records, len(records) - 10)


def first_hashes_swapped(path: bytes) -> bytes:
    """Swap the first two lines that are hashes."""
    lines = path.split(b"\n")
    at = [number for number, line in enumerate(lines) if len(line) == 44][:2]
    lines[at[0]], lines[at[1]] = lines[at[1]], lines[at[0]]
    return b"\n".join(lines)


def other_record(proof: bytes) -> bytes:
    """Prove something else at the place."""
    lines = proof.split(b"\n")
    lines[1] = b"extra " + base64.b64encode(base64.b64decode(lines[1][6:]).replace(b'"kind"', b'"kinD"'))
    return b"\n".join(lines)


def changed(evidence: Any, place: Path, pattern: str, change: Change) -> Path:
    """Copy the loose evidence, and change one file of it."""
    copy = shutil.copytree(evidence.loose, place / "changed")
    file = max(copy.glob(pattern))
    before = file.read_bytes()
    file.write_bytes(change(before))
    assert file.read_bytes() != before
    return copy


@pytest.mark.parametrize("verifier", THREE)
def test_what_a_broker_gave_out_is_agreed_upon(verifier: str, evidence: Any, request: pytest.FixtureRequest) -> None:
    """Records, head, growth since the bundle before, proofs of a call, a changed key: none of ours decides."""
    verify = request.getfixturevalue(verifier)

    for directory in (evidence.bundle, evidence.loose, evidence.head):
        said = verify(directory, evidence.keys)
        assert said.agrees, said.text
        assert "signed by" in said.text
    loose = verify(evidence.loose, evidence.keys).text
    assert loose.count("proof") >= 3
    assert f"signed by {'+'.join(evidence.keys[-1].split('+')[:2])}" in loose
    if verifier != "raw_ed25519":
        assert all(line in loose for line in ("records  ", "consistency  ", "proof  "))


@pytest.mark.slow
def test_an_endorsement_is_followed_by_a_program_that_is_not_ours(evidence: Any, go: Any) -> None:
    """docs/modules/audit.md is enough to write another verifier: the first key is all that the auditor has."""
    said = go(evidence.bundle, evidence.keys[:1])

    assert said.agrees, said.text
    assert f"endorses {evidence.keys[1]}" in said.text
    assert "manifest     signed" in said.text


def test_our_own_verifier_agrees_with_them(evidence: Any) -> None:
    """The same bundle, by `python -m broker.audit verify`, with the first key only."""
    report = check(evidence.bundle, [VerifierKey.parse(evidence.keys[0])])

    assert report.holds
    assert any("grew out of the head of" in sentence for sentence in report.proved)


@pytest.mark.parametrize("verifier", THREE)
def test_a_changed_root_is_refused_by_each(
    verifier: str, evidence: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The signature is of the root that was signed."""
    said = request.getfixturevalue(verifier)(changed(evidence, tmp_path, "checkpoint", root_changed), evidence.keys)

    assert not said.agrees
    assert "refused" in said.text


@pytest.mark.parametrize("verifier", THREE)
def test_another_key_is_refused_by_each(verifier: str, evidence: Any, request: pytest.FixtureRequest) -> None:
    """Of the same name, and not the one that signed."""
    other = str(Log(evidence.keys[0].partition("+")[0]).key)

    for directory in (evidence.loose, evidence.head):
        assert not request.getfixturevalue(verifier)(directory, [other]).agrees


@pytest.mark.parametrize("verifier", BOTH)
@pytest.mark.parametrize(
    ("pattern", "change", "found"),
    [
        ("records.jsonl", record_changed, "refused: records"),
        ("consistency", first_hashes_swapped, "refused: consistency"),
        ("proofs/*", first_hashes_swapped, "refused: proofs"),
        ("proofs/*", other_record, "refused: proofs"),
    ],
)
def test_what_was_changed_is_refused_by_each_and_for_that_reason(
    verifier: str,
    pattern: str,
    change: Change,
    found: str,
    evidence: Any,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """A changed record, and paths with two hashes swapped, where no digest of a file gives it away."""
    said = request.getfixturevalue(verifier)(changed(evidence, tmp_path, pattern, change), evidence.keys)

    assert not said.agrees
    assert found in said.text


@pytest.mark.parametrize("verifier", THREE)
@pytest.mark.parametrize("bundle", ["bundle", "selection"])
def test_frozen_bundles_are_agreed_upon(verifier: str, bundle: str, request: pytest.FixtureRequest) -> None:
    """Pruned records, a filter, and a key that was changed: the format as it was frozen."""
    said = request.getfixturevalue(verifier)(FROZEN / bundle, (FROZEN / "log.vkey").read_text().split())

    assert said.agrees, said.text
