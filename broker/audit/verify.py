"""The check: whether records make the log that a head speaks of, and which is the first bad one if they do not."""

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from broker.audit.absent import Absent
from broker.audit.broken_link import BrokenLink
from broker.audit.canonical import canonical
from broker.audit.checkpoint import Checkpoint, trusted_keys
from broker.audit.note import VerifierKey
from broker.audit.record import LARGEST, NO_HASH
from broker.audit.statement import Gap, Statement
from broker.audit.tree import Head, leaf_hash

UNSIGNED = (
    "The head is not signed: whoever could write both the trail and this statement of it could have rewritten "
    "both. Compare the root with one that you noted earlier or hold elsewhere."
)
OWN_KEY = (
    "The key that signed the head was named by the export itself. Compare it with one that you had from elsewhere, "
    "or give that one with --key."
)
OWN_FILTER = "That the filter is the one that was asked for: the export names it, and no signature covers it."
TAIL = "Records after this head, if any, are not covered."
_LARGEST_STATEMENT = 1 << 20  # bytes; it grows with each key that the log has had


@dataclass(slots=True)
class Report:
    """What was proved, what could not be, and the first bad record if there is one."""

    records: int = 0
    gaps: int = 0
    root: str = ""
    proved: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    first_bad: int | None = None
    problem: str | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None

    def facts(self) -> dict[str, Any]:
        """Return it as plain values, as `--json` prints it."""
        return {
            "ok": self.holds,
            "records": self.records,
            "root": self.root,
            "proved": self.proved,
            "not_proved": self.open,
            "first_bad_record": self.first_bad,
            "problem": self.problem,
        }

    def fail(self, index: int | None, problem: str) -> Self:
        """Note the first thing that is wrong: then nothing is proved."""
        self.first_bad, self.problem, self.proved = index, problem, []
        return self


def verify(
    lines: Iterable[bytes],
    stated: Statement,
    trusted: Sequence[VerifierKey] = (),
    held: Sequence[Checkpoint] = (),
) -> Report:
    """Check the lines of an export (records and gaps, in order) against the statement of a head, in constant memory.

    With `trusted` keys, one of them, or one that they endorse, must have signed the head. `held` are heads that the
    auditor has from elsewhere: the export must have had each of them on its way.
    """
    report = Report()
    try:
        signed = _check_head(report, stated, trusted)
    except ValueError as error:
        return report.fail(None, f"the head does not hold: {error}")
    if other := [one.origin for one in held if one.origin != stated.log]:
        return report.fail(None, f"a head that you hold is of another log, {other[0]!r}, than this one, {stated.log!r}")
    report.open += [TAIL, *([OWN_FILTER] if stated.filter else [])]
    return _Walk(report, stated, held).over(lines, signed)


def _check_head(report: Report, stated: Statement, trusted: Sequence[VerifierKey]) -> str | None:
    """Return who signed the head, in words; None if nobody did, which is refused where there is any key."""
    if not trusted and not stated.checkpoint and not stated.keys:
        report.open.append(UNSIGNED)
        return None
    own = [one.key for one in stated.keys]
    signers = stated.check_signed(trusted_keys(stated.log, trusted or own, stated.keys))
    if not trusted:
        report.open.append(OWN_KEY)
    return ", ".join(f"{key.name} (key {key.key_id.hex()})" for key in signers)


class _Walk:
    """The way through an export, line by line, and the log as it grows."""

    def __init__(self, report: Report, stated: Statement, held: Sequence[Checkpoint]) -> None:
        self.report = report
        self.stated = stated
        self.head = Head()
        self.before: Head | None = Head()
        """The log before the last record; None where that is not in the export."""
        self.broken: BrokenLink | None = None
        self.absent = Absent()
        self._held = held
        self._sizes = {one.size for one in held}
        self._met: list[Checkpoint] = []

    def over(self, lines: Iterable[bytes], signed: str | None) -> Report:
        """Check every line, then all of them together."""
        if (problem := self._meet_held()) is not None:
            return self.report.fail(None, problem)
        for line in lines:
            found = self._step(line)
            if found is not None:  # a break before it comes first
                return self.report.fail(*(self._verdict() if self.broken is not None else found))
            if (problem := self._meet_held()) is not None:
                return self.report.fail(None, problem)
        self.report.root = self.head.root().hex()
        self._conclude()
        if self.report.holds:
            self._say(signed)
        return self.report

    def _step(self, line: bytes) -> tuple[int, str] | None:
        """Append one line to the log, or return what is wrong with it and at which record."""
        index = self.head.size
        try:
            gap = Gap.parse(line)
        except ValueError as error:
            return index, str(error)
        if gap is not None:
            return self._skip(gap)

        # 1. Each record is what it says it is: canonical, of this log, at its place.
        record, problem = _parse(line, index, self.stated.log)
        if problem is not None:
            return index, problem

        # 2. Each record names the one before it, where that is known.
        self._check_link(index, record)
        leaf = leaf_hash(line)
        self.before, self.head = self.head, self.head.append(leaf)
        if self.broken is not None:
            self.broken.follow(leaf)
        self.absent.explain(index, record)
        self.report.records += 1
        return None

    def _skip(self, gap: Gap) -> tuple[int, str] | None:
        if gap.start != self.head.size or gap.stop > self.stated.size:
            return self.head.size, f"a gap stands here that is said to be of records {gap.start} to {gap.stop - 1}"
        if gap.why == "filtered" and not self.stated.filter:
            return gap.start, "records are left out of an export that is said to be of everything"
        self.absent.note(gap)
        self.head, self.before = gap.onto(self.head), None
        if self.broken is not None:
            self.broken.skip(gap)
        self.report.gaps += 1
        return None

    def _check_link(self, index: int, record: dict[str, Any]) -> None:
        claimed = record["prev_hash"]
        known = self.head.last.hex() if index else NO_HASH
        if not known:  # the record before is in a gap
            return
        if self.broken is None and claimed != known:
            self.broken = BrokenLink(index, repaired=self.before, claimed=claimed)
        elif self.broken is not None and self.broken.next_fits is None:
            self.broken.next_fits = claimed == known

    def _meet_held(self) -> str | None:
        """Compare the heads that the auditor holds of the size that is reached; return what is wrong."""
        if self.head.size not in self._sizes:
            return None
        for held in self._held:
            if held.size != self.head.size:
                continue
            if held.root != self.head.root():
                return f"at {held.size} records, the head that you hold has another root: the log was rewritten since"
            if held not in self._met:
                self._met.append(held)
        return None

    def _verdict(self) -> tuple[int, str]:
        assert self.broken is not None  # noqa: S101 - asked for by those who saw it
        return self.broken.verdict(self.stated, self.head)

    def _conclude(self) -> None:
        """Check that all of them together have the root that was stated, and none is missing."""
        stated, report, size = self.stated, self.report, self.head.size
        if self.broken is not None and self.broken.index < stated.size:
            report.fail(*self._verdict())
        elif size != stated.size and report.root == stated.root:
            report.fail(None, f"the records have the root that was stated, but are {size} in number")
        elif size < stated.size:
            report.fail(size, f"{stated.size - size} records are missing from the end")
        elif size > stated.size:
            report.fail(stated.size, f"there are more records than the {stated.size} that the head speaks of")
        else:
            self._conclude_roots()

    def _conclude_roots(self) -> None:
        stated, report = self.stated, self.report
        fits = report.root == stated.root
        last = self.head.last.hex()
        if not fits and last and last != stated.last:
            report.fail(stated.size - 1, "the last record is not the one that the head names")
        elif not fits or (last and last != stated.last):
            gaps = ", or the hashes of a gap are wrong" if report.gaps else ""
            report.fail(None, f"every record links to the next, but the head that is stated does not fit them{gaps}")
        elif (unexplained := self.absent.unexplained()) is not None and not stated.filter:
            report.fail(unexplained, "this record's body is gone, and no record in the export says that it was pruned")

    def _say(self, signed: str | None) -> None:
        report, stated = self.report, self.stated
        missing = stated.size - report.records
        how = "unchanged and in their places" if missing else "unchanged, complete and in order up to the head"
        report.proved.append(f"{report.records} records of the log {stated.log} are {how}.")
        report.proved.append(f"The RFC 6962 root at {stated.size} records is the one stated: {report.root}.")
        if signed is not None:
            report.proved.append(f"That head was signed by {signed}.")
        report.proved += [f"The head of {held.size} records that you hold is on its way." for held in self._met]
        report.open += [
            f"The head of {held.size} records that you hold was not compared: the export does not reach, or skips it."
            for held in self._held
            if held not in self._met
        ]
        if not self.head.last:
            report.open.append("Which record is the last: the statement names it, and no line of the export does.")
        report.open += self.absent.sentences(", ".join(f"{name}={value}" for name, value in stated.filter.items()))


def _parse(body: bytes, index: int, log: str) -> tuple[dict[str, Any], str | None]:
    if len(body) > LARGEST:
        return {}, "this record is longer than a record can be"
    try:
        record = json.loads(body)
        if not isinstance(record, dict) or canonical(record) != body:
            return {}, "this record is not in canonical form, so it is not as it was written"
    except (ValueError, RecursionError):
        return {}, "this record is not JSON, so it is not as it was written"
    if type(record.get("seq")) is not int or record["seq"] != index:  # True would equal 1
        return {}, f"this record says it is number {record.get('seq')!r}: records were removed, added or moved here"
    if record.get("log") != log:
        return {}, f"this record is of another log, {record.get('log')!r}"
    if not isinstance(record.get("prev_hash"), str):
        return {}, "this record names none before it"
    return record, None


def read_export(path: Path) -> tuple[Statement, Iterator[bytes]]:
    """Open an export; raise `ValueError` if it is none, `OSError` if it cannot be read."""
    lines = read_lines(path.open("rb"))
    try:
        return Statement.parse(next(lines, b"")), lines
    except ValueError:
        lines.close()
        raise


def read_lines(file: IO[bytes]) -> Generator[bytes]:
    """Yield the lines of an export without their ends, none of them much longer than it can be; then close it."""
    with file:
        yield file.readline(_LARGEST_STATEMENT).removesuffix(b"\n")
        while line := file.readline(LARGEST + 2):
            yield line.removesuffix(b"\n")
