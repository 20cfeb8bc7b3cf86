"""What a month's report counts and lists, folded from entries and gaps in constant memory."""

import datetime
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from broker.audit.record import Record
from broker.audit.views.entries import CALL, UNFINISHED, Entry, join
from broker.audit.views.report.tally import Listing, Tally
from broker.audit.views.stream import MISSING, Gap
from broker.audit.views.values import at, listed_at, number_at, text_at, visible

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_DECEMBER = 12
_NOBODY = "not known"
_DOCUMENTS = frozenset({"documents_loaded", "documents_refused", "documents_rollback", "rollback_failed"})
_LIFE = frozenset({"started", "stopped", "recording_resumed", "clock_set_back", "clock_caught_up"})
_SECTIONS = (
    ("agent_", "agents"),
    ("agents_", "agents"),
    ("approval_", "approvals"),
    ("budget_", "budgets"),
    ("grant_", "grants"),
    ("consent_", "grants"),
    ("access_key_", "grants"),
    ("delegation_", "grants"),
    ("vault_key_", "grants"),
    ("token_", "grants"),
    ("snapshot_", "documents"),
    ("trail_exported", "exports"),
    ("trail_pruned", "pruning"),
    ("hold_", "pruning"),
    ("payload", "pruning"),
    ("bundle_", "exports"),
    ("shipped_head_", "checkpoints"),
    ("trail_rolled_back", "checkpoints"),
    ("checkpoint_", "checkpoints"),
    ("signing_key_", "checkpoints"),
)
_ENDS = {
    "released": "completed",
    "refused": "refused",
    "failed": "failed",
    "withheld": "withheld",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC, as `2026-11`."""

    name: str
    since: str
    until: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a month; raise `ValueError` for what is none."""
        found = _MONTH.fullmatch(text)
        if found is None or not text.isascii():
            raise ValueError("a month is a year and a number, as 2026-11")
        year, month = int(found[1]), int(found[2])
        following = (year + 1, 1) if month == _DECEMBER else (year, month + 1)
        if not datetime.MINYEAR <= year < datetime.MAXYEAR:
            raise ValueError("there is no such year")
        return cls(text, *(f"{one:04}-{other:02}-01T00:00:00.000Z" for one, other in ((year, month), following)))

    def holds(self, time: str) -> bool:
        """Tell whether a record's time lies in the month."""
        return self.since <= time < self.until


@dataclass(slots=True)
class MonthReport:
    """Everything the page says. Feed it the whole stream; what is of another month is left out."""

    month: Month
    basis: dict[str, Any] = field(default_factory=dict)
    """The export's statement: the head that the report rests on."""
    made: str = ""
    calls: Tally = field(default_factory=Tally)
    denials: Tally = field(default_factory=Tally)
    credentials: Tally = field(default_factory=Tally)
    in_force: Tally = field(default_factory=Tally)
    refused: Tally = field(default_factory=Tally)
    unclear: Listing = field(default_factory=Listing)
    sections: dict[str, Listing] = field(default_factory=dict)
    gaps: Listing = field(default_factory=Listing)
    absent: dict[str, int] = field(default_factory=dict)
    """How many records are not in the stream, by the reason."""
    partial: int = 0
    """How many calls there are whose *requested* is not in the stream, so that it is not known whose they are."""
    reached: int = 0
    """The number that the next record of the log would have."""
    _digest: str | None = None

    def read(self, stream: Iterable[Record | Gap]) -> Self:
        """Fold a whole stream."""
        for entry in join(self._records(stream)):
            self.fold(entry)
        return self

    def listing(self, section: str) -> Listing:
        """Return the rows of a section; none if nothing is in it."""
        return self.sections.get(section) or Listing()

    def fold(self, entry: Entry) -> None:
        """Take one entry in, if it is of the month."""
        since = self._digest_before(entry)
        if not self.month.holds(entry.time):
            return
        if entry.kind == CALL:
            self._call(entry)
        elif entry.kind == "authentication_refused":
            self._authentication(entry)
        else:
            self._event(entry, since)

    def gap(self, gap: Gap) -> None:
        """Note records that are not in the stream."""
        self.absent[gap.why] = self.absent.get(gap.why, 0) + gap.stop - gap.start
        if gap.why != "filtered":  # those are of other months
            self.gaps.add(str(gap.start), str(gap.stop - 1), gap.why)

    @property
    def whole(self) -> bool:
        """Whether every record up to the head was read, or is known to be elsewhere."""
        return not self.absent.get(MISSING)

    def _records(self, stream: Iterable[Record | Gap]) -> Iterator[Record]:
        for one in stream:
            if isinstance(one, Gap):
                self.gap(one)
                self.reached = one.stop
            else:
                self.reached = (number_at(one, "seq") or 0) + 1
                yield one

    def _digest_before(self, entry: Entry) -> str | None:
        """Return the documents' digest before an event that names them, whatever month it is of."""
        before, now = self._digest, text_at(entry.event, "documents", "sha256")
        if now is not None and entry.kind in {"started", "documents_loaded"}:
            self._digest = now
        return before

    def _call(self, entry: Entry) -> None:
        who, time, end = _who(entry), entry.time, ending(entry)
        decided = ("permitted",) if entry.decision == "permit" else ()
        self.calls.add(who, time, end, *decided)
        if (digest := text_at(entry.requested, "documents")) is not None:
            self.in_force.add((digest,), time)
        if end in {"denied", "refused"}:
            self.denials.add(_denial(entry, who[0]), time)
        self._credential(entry, time)
        if end == "unknown":
            self.unclear.add(time, str(entry.first), entry.call_id or "", entry.status or "", who[0], *_asked(entry))
        self.partial += entry.requested is None

    def _credential(self, entry: Entry, time: str) -> None:
        used = entry.at("credential")
        if type(used) is dict:
            connector = text_at(entry.requested, "action", "connector") or text_at(entry.event, "connector") or ""
            names = (text_at(used, name) or "" for name in ("grant", "kind", "principal", "fingerprint"))
            self.credentials.add((connector, *names), time, "calls" if entry.event is None else "tests")

    def _authentication(self, entry: Entry) -> None:
        said = (("outcome", "code"), ("origin", "transport"), ("origin", "source"), ("identity", "spiffe_id"))
        key = tuple(text_at(entry.event, *path) or "" for path in said)
        self.refused.add(key, entry.time, number=max(1, number_at(entry.event, "outcome", "count") or 1))

    def _event(self, entry: Entry, digest: str | None) -> None:
        kind, time, event = entry.kind, entry.time, entry.event
        self._credential(entry, time)
        row = (time, str(entry.first), kind, actor_of(event), facts_of(event))
        if kind in _LIFE:
            self._list("life", *row)
            now = text_at(event, "documents", "sha256")
            if kind == "started" and None not in {digest, now} and digest != now:
                self._list("documents", *row[:2], "changed while stopped", *row[3:])
        elif kind in _DOCUMENTS:
            self._list("documents", *row)
        else:
            self._list(next((section for start, section in _SECTIONS if kind.startswith(start)), "others"), *row)

    def _list(self, section: str, *cells: str) -> None:
        self.sections.setdefault(section, Listing()).add(*cells)


def ending(entry: Entry) -> str:
    """Return the one way in which the page counts a call's end."""
    if entry.decision == "deny":
        return "denied"
    return _ENDS.get(entry.status or UNFINISHED, "unknown")


def actor_of(event: Record | None) -> str:
    """Name who did it, as far as the record does."""
    user, role, service = (text_at(event, "actor", name) for name in ("user", "role", "service"))
    if user is not None:
        return f"{user} ({role})" if role else user
    return f"the service ({service})" if service else ""


_ENVELOPE = frozenset({"id", "time", "kind", "seq", "v", "log", "prev_hash", "actor"})
_LONGEST = 400  # characters of what an event says, on the page


def facts_of(event: Record | None) -> str:
    """Say briefly what else an event says; the record itself says it all."""
    said = "; ".join(_flat({name: value for name, value in (event or {}).items() if name not in _ENVELOPE}))
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def _flat(value: Any, path: str = "") -> Iterator[str]:
    if type(value) is dict:
        for name, member in value.items():
            if name != "files":  # hundreds; the set's digest stands for them
                yield from _flat(member, f"{path} {name}".strip())
    elif type(value) is list:
        if value:
            yield f"{path}: {', '.join(map(visible, value))}"
    elif value is not None:
        yield f"{path}: {visible(value)}"


def _who(entry: Entry) -> tuple[str, str, str]:
    identity = at(entry.requested, "identity")
    agent = text_at(identity, "agent") or text_at(identity, "spiffe_id") or _NOBODY
    return agent, text_at(identity, "owner") or _NOBODY, text_at(identity, "team") or ""


def _asked(entry: Entry) -> tuple[str, str]:
    said = at(entry.requested, "action")
    return text_at(said, "resource") or "", text_at(said, "action") or ""


def _denial(entry: Entry, agent: str) -> tuple[str, ...]:
    """Return what a refusal is counted by; nothing of it is the caller's to choose but which of them it is."""
    rules = [
        f"{text_at(rule, 'policy')} {text_at(rule, 'place')}" for rule in listed_at(entry.decided, "policy", "rules")
    ]
    policies = listed_at(entry.decided, "policy", "policies")
    by = ", ".join(rules) or (f"no rule of {', '.join(map(visible, policies))}" if policies else "")
    return by, *_asked(entry), text_at(entry.finished, "outcome", "code") or "", agent
