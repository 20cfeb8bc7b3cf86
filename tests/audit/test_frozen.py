import json
from pathlib import Path

import pytest

from broker.audit import VerifierKey, canonical
from broker.audit.check import check, read_head, read_keys
from tests.support.evidence import contents, flipped, packed

FROZEN = Path(__file__).parent.parent / "vectors/frozen/v1"
EXPORTS = ["whole.jsonl", "pruned.jsonl", "selection.jsonl"]
BUNDLES = ["first", "bundle", "selection"]
PROOFS = ["0.tlog-proof", "12.tlog-proof", "39.tlog-proof"]


@pytest.fixture(scope="module")
def keys() -> list[VerifierKey]:
    """Read the keys."""
    return read_keys(str(FROZEN / "log.vkey"))


@pytest.mark.parametrize("name", EXPORTS + BUNDLES + PROOFS)
def test_what_was_given_out_once_verifies_for_ever(name: str, keys: list[VerifierKey]) -> None:
    """Issue 3: frozen vectors of our own formats."""
    report = check(FROZEN / name, keys)

    assert report.holds, report.problem
    assert report.proved


@pytest.mark.parametrize("name", BUNDLES)
def test_a_frozen_bundle_verifies_as_a_zip_too(name: str, keys: list[VerifierKey], tmp_path: Path) -> None:
    """bundle.py: one zip file or a directory."""
    report = check(packed(contents(FROZEN / name), tmp_path / "bundle.zip"), keys)

    assert report == check(FROZEN / name, keys)
    assert report.holds


@pytest.mark.parametrize("name", ["pruned.jsonl", "selection.jsonl", "bundle", "selection"])
def test_the_first_key_is_enough_for_what_the_second_signed(name: str, keys: list[VerifierKey]) -> None:
    """checkpoint.py: the endorsement, as it was written then."""
    assert check(FROZEN / name, keys[:1]).holds


def test_what_a_frozen_export_proves_and_leaves_open_is_said(keys: list[VerifierKey]) -> None:
    """The counts: 40 records, 7 of them pruned, one head that somebody kept."""
    held = read_head(FROZEN / "held-checkpoint", keys)

    whole, few = check(FROZEN / "pruned.jsonl", keys, [held]), check(FROZEN / "selection", keys)

    assert (whole.records, few.records) == (33, 4)
    assert "The head of 10 records that you hold is on its way." in whole.proved
    assert any("7 pruned records" in sentence for sentence in whole.open)
    assert any("grew out of the head of 16 records" in sentence for sentence in few.proved)
    assert any("agent=finance-analyst" in sentence for sentence in few.open)


@pytest.mark.parametrize("name", [*EXPORTS, *PROOFS])
def test_a_frozen_file_with_a_changed_byte_does_not_hold(name: str, keys: list[VerifierKey], tmp_path: Path) -> None:
    """A check that cannot fail is none: every 31st byte."""
    content = (FROZEN / name).read_bytes()
    named = range(content.find(b'"filter":'), content.find(b'"keys":')) if name in EXPORTS else range(0)

    for position in range(0, len(content), 31):
        (tmp_path / name).write_bytes(flipped(content, position))
        try:
            report = check(tmp_path / name, keys)
        except ValueError:
            continue
        assert not report.holds or (position in named and "no signature covers" in str(report.open))


def test_canonical_records_are_still_written_so() -> None:
    """canonical.py: what is in the frozen logs is what would be written today."""
    for line in (FROZEN / "whole.jsonl").read_bytes().splitlines():
        assert canonical(json.loads(line)) == line
