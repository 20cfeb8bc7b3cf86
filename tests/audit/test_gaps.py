import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audit import Checkpoint, Gap, Report, canonical, open_checkpoint, verify
from broker.audit.tree import cover
from tests.support.evidence import Log, every_subset

SIZE = 24


def checked(log: Log, lines: list[bytes], *, held: tuple[str, ...] = (), **filter_: str) -> Report:
    """Check an export of a log with its key."""
    heads = [open_checkpoint(note, [one.key for one in log.keys])[0] for note in held]
    return verify(lines, log.statement(**filter_), [log.key], heads)


def pruned(*ranges: tuple[int, int]) -> Log:
    """Make a log with pruned records."""
    log = Log().grown(SIZE)
    for start, stop in ranges:
        log.prune(start, stop)
    return log


def test_any_selection_of_records_holds_under_the_signed_head() -> None:
    """Issue 3: a filtered export; every selection of seven records, two of them pruned, with the last by itself."""
    log = Log().grown(6)
    log.prune(2, 4)

    for wanted in every_subset(7):
        report = checked(log, log.lines(wanted), agent="one")
        assert report.holds
        assert report.records == len(wanted - {2, 3})
        assert not any("Which record is the last" in sentence for sentence in report.open)


@given(st.sets(st.integers(0, 299)), st.integers(1, 300))
@settings(max_examples=30)
def test_any_selection_of_a_larger_log_holds(wanted: set[int], size: int) -> None:
    """statement.py, Gap: the hashes of the fewest complete subtrees stand for the records that are left out."""
    log = Log().grown(size)

    assert checked(log, log.lines(wanted), agent="one").holds


def test_what_was_left_out_is_said_and_the_filter_is_named() -> None:
    """A filtered export says what it does not prove: the filter, and that it was the one that was asked for."""
    log = Log().grown(SIZE)

    report = checked(log, log.lines({3, 4}), agent="finance-analyst", decision="deny")

    assert report.proved[0] == f"2 records of the log {log.name} are unchanged and in their places."
    assert any("22 other records" in said and "agent=finance-analyst, decision=deny" in said for said in report.open)
    assert any("no signature covers" in sentence for sentence in report.open)


def test_an_export_of_everything_leaves_nothing_out() -> None:
    """verify.py: a gap of filtered records in an export without a filter is a removal."""
    log = Log().grown(SIZE)

    report = checked(log, log.lines(set(range(SIZE)) - {7}))

    assert (report.holds, report.first_bad) == (False, 7)


@pytest.mark.parametrize("ranges", [[(0, 5)], [(3, 9)], [(3, 4)], [(0, 24)], [(3, 9), (9, 12)], [(5, 9), (0, 12)]])
def test_pruned_records_that_a_record_explains_are_no_loss(ranges: list[tuple[int, int]]) -> None:
    """Issue 3: proofs of what remains still verify, and the pruning itself is on record."""
    log = pruned(*ranges)

    report = checked(log, log.lines())

    assert report.holds
    assert any("the pruning is on record" in sentence for sentence in report.open)


UNEXPLAINED: list[tuple[tuple[int, int], list[Any], int]] = [
    ((3, 9), [], 3),
    ((3, 9), [[0, 3], [9, 12]], 3),
    ((3, 9), [[3, 8]], 8),
    ((3, 9), [[4, 9]], 3),
    ((3, 9), [[3, 5], [6, 9]], 5),
    ((3, 9), [[3, 10**6]], 3),
    ((3, 9), [[9, 3]], 3),
    ((3, 9), [[-1, 9]], 3),
    ((3, 9), ["39", 3, None, [3], [3, 9, 12], [True, 9], {"start": 3}], 3),
    ((0, 24), [[0, 23]], 23),
]


@pytest.mark.parametrize(("gone", "said", "first_bad"), UNEXPLAINED)
def test_a_body_that_is_gone_and_that_nobody_pruned_is_named(
    gone: tuple[int, int], said: list[Any], first_bad: int
) -> None:
    """verify.py: a gap that says "pruned" is believed only as far as a later record says so too."""
    log = Log().grown(SIZE)
    log.pruned = set(range(*gone))
    log.add("trail_pruned", ranges=said)

    report = checked(log, log.lines())

    assert (report.holds, report.first_bad) == (False, first_bad)
    assert "no record in the export says that it was pruned" in str(report.problem)


def test_a_pruning_of_records_to_come_explains_nothing() -> None:
    """absent.py: a record tells which records before it were pruned, and of none after it."""
    log = Log()
    log.add("trail_pruned", ranges=[[0, 20]])
    log.grown(SIZE)
    log.pruned = {5}

    assert checked(log, log.lines()).first_bad == 5


def test_a_selection_does_not_claim_that_a_pruning_is_on_record() -> None:
    """absent.py: a filter leaves out the record of the pruning; then the report says that instead of the claim."""
    log = pruned((3, 9))

    report = checked(log, log.lines({1, 4, 5, 12}), agent="one")

    assert report.holds
    assert not any("the pruning is on record" in sentence for sentence in report.open)
    assert any("2 records said that are said to be pruned" in sentence for sentence in report.open)


def lied(log: Log, **members: Any) -> list[bytes]:
    """Change members of the only gap of an export."""
    return [
        canonical({"gap": json.loads(line)["gap"] | members}) if line.startswith(b'{"gap"') else line
        for line in log.lines()
    ]


HASH = "ab" * 32
LIES: list[dict[str, Any]] = [
    {"start": 2},
    {"start": 4},
    {"start": 3.0},
    {"start": True},
    {"start": -3},
    {"start": "3"},
    {"stop": 8},
    {"stop": 10},
    {"stop": 3},
    {"stop": 2**53 - 1},
    {"why": "lost"},
    {"why": None},
    {"why": ["pruned"]},
    {"why": "filtered"},
    {"hashes": []},
    {"hashes": [HASH] * 3},
    {"hashes": [HASH] * 2},
    {"hashes": [HASH] * 4},
    {"hashes": [HASH.upper()] * 3},
    {"hashes": [HASH[:-1]] * 3},
    {"hashes": "ab"},
    {"hashes": None},
    {"more": 1},
]


@pytest.mark.parametrize("members", LIES, ids=str)
def test_a_gap_that_lies_is_found(members: dict[str, Any]) -> None:
    """statement.py, Gap: where it stands, how many it is of, why, and what they hash to."""
    log = pruned((3, 9))
    try:
        lines = lied(log, **members)
    except ValueError:  # floats are no canonical JSON
        lines = [line.replace(b'"start":3,', b'"start":3.0,') for line in log.lines()]

    assert not checked(log, lines).holds


def test_a_gap_whose_hashes_lie_is_no_fault_of_the_records() -> None:
    """verify.py: every record links to the next, and the head is signed, so it is the gap."""
    log = pruned((4, 12))

    report = checked(log, lied(log, hashes=[HASH] * len(list(cover(4, 12)))))

    assert (report.holds, report.first_bad) == (False, None)
    assert "the hashes of a gap are wrong" in str(report.problem)


@pytest.mark.parametrize("whole", [b'{"gap":5}', b'{"gap":{}}', b'{"gap":', b'{"gap":{"gap":{}}}', b'{"gap":[]}'])
def test_what_looks_like_a_gap_and_is_none_is_refused(whole: bytes) -> None:
    """statement.py, Gap.parse: neither a record nor a gap; its place is named."""
    log = Log().grown(SIZE)
    lines = log.lines()

    report = checked(log, [*lines[:5], whole, *lines[5:]])

    assert (report.holds, report.first_bad) == (False, 5)


def test_a_record_with_a_gap_in_it_is_no_gap() -> None:
    """statement.py, Gap.parse: one key and no other; what a record holds below its top is its own matter."""
    log = Log().grown(3)
    log.add(gap={"start": 0, "stop": 2, "why": "pruned", "hashes": []})
    nested = Log().grown(3)
    nested.add(detail={"gap": {"start": 0}})

    assert checked(log, log.lines()).first_bad == 3
    assert checked(nested, nested.lines()).holds


def test_gaps_may_not_overlap_repeat_or_leave_a_hole() -> None:
    """verify.py: each begins where the line before ends."""
    log = pruned((3, 9))
    lines = log.lines()
    gap = log.gap(3, 9, "pruned")
    at = lines.index(gap)

    for wrong in (
        [*lines[:at], gap, gap, *lines[at + 1 :]],
        [*lines[:at], log.gap(2, 9, "pruned"), *lines[at + 1 :]],
        [*lines[:at], log.gap(3, 6, "pruned"), log.gap(5, 9, "pruned"), *lines[at + 1 :]],
        [*lines[:at], log.gap(3, 6, "pruned"), *lines[at + 1 :]],
        [*lines[:at], *lines[at + 1 :]],
        [*lines[:at], *lines[at + 1 :], gap],
    ):
        assert not checked(log, wrong).holds
    split = [*lines[:at], log.gap(3, 6, "pruned"), log.gap(6, 9, "pruned"), *lines[at + 1 :]]
    assert checked(log, split).holds


def test_a_link_to_a_record_in_a_gap_is_checked_where_its_hash_is_known() -> None:
    """verify.py: a gap that ends in a single record gives the hash that the next record names."""
    known, unknown = pruned((3, 5)), pruned((2, 4))
    for log, first in ((known, 5), (unknown, 4)):
        lines = log.lines()
        at = lines.index(log.bodies[first])
        lines[at] = canonical(json.loads(lines[at]) | {"prev_hash": HASH})
        report = checked(log, lines)
        assert not report.holds
        assert report.first_bad in {first, first + 1}


def test_a_changed_record_before_a_gap_is_still_the_only_one_blamed() -> None:
    """broken_link.py: the log with the link mended goes on over gaps."""
    log = pruned((8, 16))
    lines = log.lines()
    lines[5] = canonical(json.loads(lines[5]) | {"note": "forged"})

    report = checked(log, lines)

    assert report.first_bad == 5
    assert "every other record is as it was committed" in str(report.problem)


def test_a_last_record_that_no_line_names_is_said() -> None:
    """verify.py: the statement's `last` is then what nobody can check."""
    log = Log().grown(SIZE)
    stated = dataclasses.replace(log.statement(agent="one"), last=HASH)

    report = verify([log.gap(0, SIZE)], stated, [log.key])

    assert report.holds
    assert any("Which record is the last" in sentence for sentence in report.open)


def test_a_statement_that_names_another_last_record_is_found_behind_a_gap() -> None:
    """evidence/export.py: the last record stands by itself, so that its hash is in a line."""
    log = Log().grown(SIZE)
    stated = dataclasses.replace(log.statement(agent="one"), last=HASH)

    assert not verify(log.lines({2}), stated, [log.key]).holds


def test_a_head_that_the_auditor_holds_must_be_on_the_way() -> None:
    """Issue 3: signed heads leave the machine, and a log that was rewritten since is found out."""
    log, other = Log().grown(SIZE), Log()
    other.add(note="another beginning")
    other.grown(SIZE)
    kept = log.checkpoint(7)

    assert "The head of 7 records that you hold is on its way." in checked(log, log.lines(), held=(kept,)).proved
    found = checked(other, other.lines(), held=(kept,))
    assert not found.holds
    assert "rewritten" in str(found.problem)


def test_heads_that_contradict_each_other_do_not_both_hold() -> None:
    """verify.py: two of one size are both compared, in whatever order they are given."""
    log, other = Log().grown(SIZE), Log().grown(6)
    other.add(note="another")

    for held in ((log.checkpoint(7), other.checkpoint(7)), (other.checkpoint(7), log.checkpoint(7))):
        assert not checked(log, log.lines(), held=held).holds


def test_a_head_that_could_not_be_compared_is_said() -> None:
    """verify.py: what the export skips, or does not reach, is not proved."""
    log, longer = Log().grown(SIZE), Log().grown(SIZE + 5)
    wanted = set(range(SIZE)) - {5, 6, 7}

    skipped = checked(log, log.lines(wanted), held=(log.checkpoint(7),), agent="one")
    beyond = checked(log, log.lines(), held=(longer.checkpoint(),))

    for report in (skipped, beyond):
        assert report.holds
        assert any("was not compared" in sentence for sentence in report.open)


@pytest.mark.parametrize("size", [0, 7, 99])
def test_a_head_of_another_log_is_refused_whatever_its_size(size: int) -> None:
    """verify.py: it is a mistake of the auditor, or somebody's trick, and never silently passed over."""
    log = Log().grown(SIZE)

    report = verify(log.lines(), log.statement(), [log.key], [Checkpoint("example.com/other", size, bytes(32))])

    assert not report.holds
    assert "of another log" in str(report.problem)


def test_an_empty_head_that_is_held_is_where_every_log_begins() -> None:
    """verify.py: a head of no records has one root."""
    log = Log().grown(3)
    empty = Checkpoint(log.name, 0, Log().head.root())

    assert verify(log.lines(), log.statement(), [log.key], [empty]).holds
    assert not verify(log.lines(), log.statement(), [log.key], [dataclasses.replace(empty, root=bytes(32))]).holds


@given(st.binary(max_size=200))
def test_any_bytes_are_a_gap_a_record_or_refused(line: bytes) -> None:
    """statement.py, Gap.parse: `ValueError` and nothing else; a gap has one way of writing."""
    for begun in (line, b'{"gap":' + line):
        try:
            gap = Gap.parse(begun)
        except ValueError:
            continue
        assert gap is None or gap.line() == begun
