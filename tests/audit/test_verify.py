import dataclasses
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audit import Head, Report, Statement, canonical, leaf_hash, read_export, seal, verify
from broker.audit.verify import TAIL, UNSIGNED

Check = Callable[[bytes], Report | None]

LOG = "access.example/log/test"
JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dictionaries(st.text(), st.floats())


def written(size: int, log: str = LOG, forged_from: int = 99, past: int = 0) -> tuple[list[bytes], Statement]:
    """Write a log, well linked; from one record on another than it is otherwise."""
    head, records = Head(last=bytes([past]) * 32), []
    for number in range(size):
        sealed, head = seal(log, head, {"kind": "tested", "note": "forged" if number >= forged_from else "true"})
        records.append(sealed.body)
    return records, Statement.of(log, head)


def export(records: list[bytes], stated: Statement) -> bytes:
    """Write an export, as `aam trail export` does."""
    return b"".join(line + b"\n" for line in (stated.line(), *records))


def edited(body: bytes, **members: Any) -> bytes:
    """Change members of a record and write it as records are written."""
    return canonical(json.loads(body) | members)


RECORDS, STATED = written(20)
FORGED, _ = written(20, forged_from=15)
OTHER, _ = written(20, log="access.example/log/other")
BEFORE, SEVENTH, AFTER = RECORDS[:7], RECORDS[7], RECORDS[8:]
TAMPERED = {
    "removed": (BEFORE + AFTER, 7),
    "removed, the next renumbered": ([*BEFORE, edited(AFTER[0], seq=7), *AFTER[1:]], 7),
    "removed, all renumbered": ([*BEFORE, *(edited(body, seq=7 + number) for number, body in enumerate(AFTER))], 7),
    "duplicated": ([*BEFORE, SEVENTH, SEVENTH, *AFTER], 8),
    "swapped": ([*BEFORE, AFTER[0], SEVENTH, *AFTER[1:]], 7),
    "truncated": (BEFORE, 7),
    "emptied": ([], 0),
    "cut off": ([*RECORDS[:19], RECORDS[19][:-1]], 19),
    "appended, well linked": (written(21)[0], 20),
    "appended garbage": ([*RECORDS, b"\x00\xff{"], 20),
    "a blank line at the end": ([*RECORDS, b""], 20),
    "a blank line": ([*BEFORE, b"", SEVENTH, *AFTER], 7),
    "CRLF": ([body + b"\r" for body in RECORDS], 0),
    "a byte order mark": ([*BEFORE, b"\xef\xbb\xbf" + SEVENTH, *AFTER], 7),
    "UTF-16": ([*BEFORE, SEVENTH.decode().encode("utf-16-le"), *AFTER], 7),
    "a huge line": ([*BEFORE, edited(SEVENTH, note="x" * 200_000), *AFTER], 7),
    "nested deeply": ([*BEFORE, b"[" * 65_000, *AFTER], 7),
    "a record of another log": ([*BEFORE, OTHER[7], *AFTER], 7),
    "another log": (OTHER, 0),
    "forged": ([*BEFORE, edited(SEVENTH, note="forged"), *AFTER], 7),
    "forged, and garbage later": ([*BEFORE, edited(SEVENTH, note="forged"), *AFTER[:5], b"garbage"], 7),
    "another link": ([*BEFORE, edited(SEVENTH, prev_hash="f" * 64), *AFTER], 7),
    "a link that is no hash": ([*BEFORE, edited(SEVENTH, prev_hash="\u00e9" * 64), *AFTER], 7),
    "appended, of another history": ([*RECORDS, *written(22, forged_from=15)[0][20:]], 20),
    "a past before the first": (written(20, past=1)[0], 0),
    "a rewritten tail": (FORGED, 19),
}


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Check an export as `aam trail verify FILE` does; the report is None if its first line is no statement."""
    file = tmp_path_factory.mktemp("export") / "trail.jsonl"

    def check(content: bytes) -> Report | None:
        file.write_bytes(content)
        try:
            stated, records = read_export(file)
        except ValueError:
            return None
        return verify(records, stated)

    return check


def blamed(report: Report | None) -> int | None:
    """Return the record that is blamed, None if it is the statement; something must be."""
    assert report is None or (not report.holds and not report.proved)
    return report.first_bad if report else None


@pytest.mark.parametrize("size", [0, 1, 2, 20])
def test_an_export_as_it_was_written_holds(size: int, check: Check) -> None:
    """Issue 2, Trail: `verify` recomputes the root."""
    records, stated = written(size)

    report = check(export(records, stated))

    assert report
    assert (report.holds, report.first_bad, report.records, report.root) == (True, None, size, stated.root)
    assert stated.root in report.proved[-1]


def test_a_log_is_checked_in_constant_memory() -> None:
    """verify.py, verify: in constant memory; here 1 MB of records passes through less than a fifth of that."""

    def sealed() -> Iterator[tuple[bytes, Head]]:
        head = Head()
        for _ in range(1000):
            one, head = seal(LOG, head, {"note": "x" * 1000})
            yield one.body, head

    *_, (_, head) = sealed()

    tracemalloc.start()
    report = verify((body for body, _ in sealed()), Statement.of(LOG, head))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert report.holds
    assert peak < 200_000


def assert_a_flip_is_found(check: Check, content: bytes, position: int, bits: int) -> None:
    """Change a byte: the record of its line is blamed, or the statement if it is the first line."""
    line, name = content.count(b"\n", 0, position), content.index(LOG.encode())
    flipped = content[:position] + bytes([content[position] ^ bits]) + content[position + 1 :]

    found = blamed(check(flipped))

    if name <= position < name + len(LOG):  # then the statement speaks of another log, and record 0 is not of that
        assert found in {None, 0}
    else:
        assert found == (line - 1 if line else None)


@given(st.integers(0, len(export(RECORDS, STATED)) - 1), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_byte_that_was_changed_is_found_where_it_is(check: Check, position: int, bits: int) -> None:
    """Issue 2, What a user can do 1: flips one byte and `aam trail verify FILE` names the record."""
    assert_a_flip_is_found(check, export(RECORDS, STATED), position, bits)


def test_no_byte_can_be_changed_unnoticed(check: Check) -> None:
    """Issue 2, What a user can do 1, without chance: every byte of a short export, each with another bit."""
    content = export(*written(4))

    for position in range(len(content)):
        assert_a_flip_is_found(check, content, position, 1 << position % 8)


@pytest.mark.parametrize("tampered", TAMPERED)
def test_a_trail_that_was_tampered_with_is_found_where_it_was(tampered: str, check: Check) -> None:
    """verify.py: which is the first bad record; with the old statement, a rewritten tail is known by its last."""
    records, first_bad = TAMPERED[tampered]

    assert blamed(check(export(records, STATED))) == first_bad


@pytest.mark.parametrize("changes", [{"size": 19}, {"size": 21}, {"root": "f" * 64}, {"last": "f" * 64}], ids=str)
def test_a_statement_that_was_tampered_with_is_named_instead_of_a_record(changes: dict[str, Any], check: Check) -> None:
    """verify.py: records that have the root, or the last record, that was stated are not the ones to blame."""
    report = check(export(RECORDS, dataclasses.replace(STATED, **changes)))

    assert report
    assert blamed(report) is None


@pytest.mark.parametrize(("forged_from", "only_one"), [(7, True), (6, False)])
def test_the_others_are_cleared_only_where_one_record_was_changed(forged_from: int, only_one: bool) -> None:  # noqa: FBT001
    """verify.py: "every other record is as it was committed" is proved by the root with that one mended."""
    report = verify([*RECORDS[:6], *written(8, forged_from=forged_from)[0][6:], *AFTER], STATED)

    assert blamed(report) == 7
    assert ("every other record" in str(report.problem)) is only_one


@pytest.mark.parametrize("members", [{"seq": True}, {"note": "x" * 65_536}], ids=["true is no number", "too long"])
def test_what_no_record_can_be_is_found_even_in_a_log_made_so(members: dict[str, Any]) -> None:
    """verify.py: each record is what it says it is, whatever the links and the root say."""
    first, head = seal(LOG, Head(), {})
    second = edited(seal(LOG, head, {})[0].body, **members)

    assert blamed(verify([first.body, second], Statement.of(LOG, head.append(leaf_hash(second))))) == 1


def test_a_huge_line_is_never_held_whole(tmp_path: Path) -> None:
    """verify.py, read_export: no line is read much further than a record can be."""
    (tmp_path / "trail.jsonl").write_bytes(export([b"x" * 10**6], STATED))

    _, lines = read_export(tmp_path / "trail.jsonl")

    assert max(map(len, lines)) <= 65_537


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n", b"[]\n", b"[" * 65_000, b"\xff\xfe", b"\n".join(RECORDS), b"\n" + export(RECORDS, STATED)),
        export(RECORDS, STATED).replace(b"\n", b"\r\n"),
        *(export(RECORDS, STATED).replace(b":20}", other) for other in (b":20.0}", b":-1}", b":true}", b": 20}")),
        export(RECORDS, STATED).replace(b"trail/v1", b"trail/v2"),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_does_not_begin_with_a_statement_is_no_export(content: bytes, check: Check) -> None:
    """verify.py: an export is a statement of the head, then the records; there is one way of writing it."""
    assert check(content) is None


def test_the_report_says_that_heads_are_unsigned_and_the_tail_is_open() -> None:
    """Issue 2: verify says what unsigned heads leave open; it is real, for a trail rewritten with its head holds."""
    rewritten = verify(*written(20, forged_from=15))

    assert rewritten.holds
    assert rewritten.root != STATED.root
    for report in (rewritten, verify(RECORDS, STATED), verify(FORGED, STATED), verify(BEFORE, STATED)):
        assert report.open == [UNSIGNED, TAIL]
    assert "not signed" in UNSIGNED
    assert "after this head" in TAIL


@given(st.binary() | st.lists(st.binary()).map(lambda lines: export(lines, STATED)))
@settings(deadline=None)
def test_checking_any_bytes_ends_with_a_report(check: Check, content: bytes) -> None:
    """verify.py: `ValueError` for what is no export, a report for what is; nothing else is raised."""
    assert blamed(check(content)) in {None, 0}


@given(st.lists(st.fixed_dictionaries({}, optional={"log": JSON, "seq": JSON, "prev_hash": JSON, "x": JSON})))
@settings(max_examples=50)
def test_checking_any_json_ends_with_a_report(claims: list[dict[str, Any]]) -> None:
    """verify.py: nothing is raised, whatever is in the place of a link, a number or a log's name."""
    records = [{"log": LOG, "prev_hash": "0" * 64, "seq": number} | one for number, one in enumerate(claims)]

    blamed(verify([json.dumps(one, separators=(",", ":"), sort_keys=True).encode() for one in records], STATED))
