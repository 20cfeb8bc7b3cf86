"""Records joined into entries: a call with all that is recorded of it, or an event that is no call."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from broker.audit.record import Record
from broker.audit.views.values import at, number_at, text_at

CALL = "call"
UNFINISHED = "unfinished"
"""The status of a call that has no *finished*: it is running, or its end is not in what was read."""

_OF_CALLS = frozenset({"requested", "decided", "finished"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A call, any record of which may be absent, or an event; never both."""

    requested: Record | None = None
    decided: Record | None = None
    finished: Record | None = None
    event: Record | None = None

    @property
    def records(self) -> list[Record]:
        """Its records, in the order of the log; there is at least one."""
        return [one for one in (self.requested, self.decided, self.finished, self.event) if one is not None]

    @property
    def kind(self) -> str:
        """`call`, or the event's kind."""
        return CALL if self.event is None else text_at(self.event, "kind") or "unknown"

    @property
    def time(self) -> str:
        """When its first record was made."""
        return text_at(self.records[0], "time") or ""

    @property
    def first(self) -> int | None:
        """The number of its first record."""
        return number_at(self.records[0], "seq")

    @property
    def last(self) -> int | None:
        """The number of its last record."""
        return number_at(self.records[-1], "seq")

    @property
    def call_id(self) -> str | None:
        """The call's id."""
        return text_at(self.records[0], "call_id")

    @property
    def status(self) -> str | None:
        """How the call ended, `unfinished` if that is not recorded; of an event, None."""
        if self.event is not None:
            return None
        return UNFINISHED if self.finished is None else text_at(self.finished, "outcome", "status") or "unknown"

    @property
    def decision(self) -> str | None:
        """`permit` or `deny`; None if nothing was decided."""
        return text_at(self.decided, "policy", "decision")

    def at(self, *path: str) -> Any:
        """Return what its records say at a path; an event says everything in its one record."""
        for record in self.records:
            if (found := at(record, *path)) is not None:
                return found
        return None


def join(records: Iterable[Record]) -> Iterator[Entry]:
    """Yield events as they come and calls as they finish; last, the calls that have not finished.

    Only the records of calls in flight are held. A record that has none beside it is an entry all the same.
    """
    running: dict[Any, dict[str, Record]] = {}
    for record in records:
        kind, call_id = at(record, "kind"), at(record, "call_id")
        if type(kind) is not str or kind not in _OF_CALLS or type(call_id) is not str:
            yield Entry(event=record)
            continue
        call = running.setdefault(call_id, {})
        if kind in call:  # the broker writes each once; whoever wrote it twice hides neither
            yield Entry(**call)
            call = running[call_id] = {}
        call[kind] = record
        if kind == "finished":
            yield Entry(**running.pop(call_id))
    for call in running.values():
        yield Entry(**call)
