"""The check: whether records make the log that a head speaks of, and which is the first bad one if they do not.

An export is JSON Lines: a statement of the head, then each record's canonical bytes, in order.

    {"export":"access.envisionai.dev/trail/v1","last":"…","log":"…","root":"…","size":2}
    {"id":"0197…","kind":"started",…,"prev_hash":"000…","seq":0,"v":1}
    {"id":"0197…","kind":"requested",…,"prev_hash":"5b1c…","seq":1,"v":1}
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from broker.audit.canonical import canonical
from broker.audit.record import LARGEST, NO_HASH
from broker.audit.tree import Head, leaf_hash

FORMAT = "access.envisionai.dev/trail/v1"
UNSIGNED = (
    "The head is not signed yet: whoever could write both the trail and this statement of it could have rewritten "
    "both. Compare the root with one that you noted earlier or hold elsewhere."
)
TAIL = "Records after this head, if any, are not covered."


@dataclass(frozen=True, slots=True)
class Statement:
    """What is claimed of a log: its name, how many records it has, its root hash and the last record's leaf hash."""

    log: str
    size: int
    root: str
    last: str

    @classmethod
    def of(cls, log: str, head: Head) -> Self:
        """Return the statement of a head."""
        return cls(log, head.size, head.root().hex(), head.last.hex())

    def line(self) -> bytes:
        """Return it as the first line of an export, without the line's end."""
        return canonical({"export": FORMAT, "log": self.log, "size": self.size, "root": self.root, "last": self.last})

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read the first line of an export; raise `ValueError` if it is none."""
        try:
            stated = json.loads(line)
            statement = cls(stated["log"], stated["size"], stated["root"], stated["last"])
            if type(statement.size) is int and statement.size >= 0 and statement.line() == line:
                return statement
        except (ValueError, RecursionError, KeyError, TypeError):
            pass
        raise ValueError(f"the first line is not the statement of a trail export ({FORMAT})")


@dataclass(slots=True)
class Report:
    """What was proved, what could not be, and the first bad record if there is one."""

    records: int = 0
    root: str = ""
    proved: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    first_bad: int | None = None
    problem: str | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None

    def fail(self, index: int | None, problem: str) -> Self:
        """Note the first thing that is wrong."""
        self.first_bad, self.problem = index, problem
        return self


def verify(records: Iterable[bytes], stated: Statement) -> Report:
    """Check records (canonical bytes, in order) against the statement of a head, in constant memory."""
    report = Report(open=[UNSIGNED, TAIL])
    head, before = Head(), Head()
    broken: _Break | None = None

    for index, body in enumerate(records):
        # 1. Each record is what it says it is: canonical, of this log, at its place.
        record, problem = _parse(body, index, stated.log)
        if problem is not None:  # a break before it comes first
            return report.fail(*(broken.verdict(stated, head) if broken is not None else (index, problem)))

        # 2. Each record names the one before it.
        if broken is None and record["prev_hash"] != (head.last.hex() if index else NO_HASH):
            broken = _Break(index, repaired=before, claimed=record["prev_hash"])
        elif broken is not None and broken.next_fits is None:
            broken.next_fits = record["prev_hash"] == head.last.hex()

        before, head = head, head.append(leaf_hash(body))
        if broken is not None:
            broken.follow(leaf_hash(body))
        report.records = index + 1

    # 3. All of them together have the root that was stated, and none is missing.
    report.root = head.root().hex()
    return _conclude(report, head, stated, broken)


def _conclude(report: Report, head: Head, stated: Statement, broken: "_Break | None") -> Report:
    if broken is not None and broken.index < stated.size:
        return report.fail(*broken.verdict(stated, head))
    if report.records != stated.size and report.root == stated.root:
        return report.fail(None, f"the records have the root that was stated, but are {report.records} in number")
    if report.records < stated.size:
        return report.fail(report.records, f"{stated.size - report.records} records are missing from the end")
    if report.records > stated.size:
        return report.fail(stated.size, f"there are more records than the {stated.size} that the head speaks of")
    right = report.root == stated.root, head.last.hex() == stated.last
    if right == (False, False) and stated.size:
        return report.fail(stated.size - 1, "the last record is not the one that the head names")
    if right != (True, True):
        return report.fail(None, "every record links to the next, but the statement of their head does not fit them")
    report.proved = [
        f"{report.records} records are unchanged, complete and in order up to the head.",
        f"Their RFC 6962 root is the one stated: {report.root}.",
    ]
    return report


class _Break:
    """A place where a record does not name the one before it, and the log as it would be with the link mended."""

    def __init__(self, index: int, repaired: Head, claimed: Any) -> None:
        self.index = index
        self.next_fits: bool | None = None
        self._repaired: Head | None = None
        if isinstance(claimed, str) and len(claimed) == len(NO_HASH) and index:
            try:
                self._repaired = repaired.append(bytes.fromhex(claimed))
            except ValueError:
                self._repaired = None

    def follow(self, leaf: bytes) -> None:
        if self._repaired is not None:
            self._repaired = self._repaired.append(leaf)

    def verdict(self, stated: Statement, head: Head) -> tuple[int, str]:
        """Say which of the two records at the break is the bad one."""
        if self._repaired is not None and self._repaired.root().hex() == stated.root:
            return self.index - 1, "this record was changed; every other record is as it was committed"
        changed_link = self.next_fits is False or (self.next_fits is None and head.last.hex() != stated.last)
        if changed_link or self.index == 0:
            return self.index, "this record was changed, or its link to the one before it"
        return self.index - 1, "this record is not the one that the next record names"


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
    lines = path.open("rb")
    try:
        stated = Statement.parse(lines.readline(LARGEST).removesuffix(b"\n"))
    except ValueError:
        lines.close()
        raise

    def records() -> Iterator[bytes]:
        with lines:
            while line := lines.readline(LARGEST + 2):
                yield line.removesuffix(b"\n")

    return stated, records()
