"""Which calls and events somebody asks for: what `aam trail search`, `export`, `prune` and holds share."""

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

NAMES = ("since", "until", "agent", "owner", "team", "resource", "action", "decision", "code")
DECISIONS = ("permit", "deny", "needs_approval")


@dataclass(frozen=True, slots=True)
class Filter:
    """What must be so of a call or an event; None asks for nothing.

    `since` (inclusive) and `until` (exclusive) compare with the time of a call's first record, as RFC 3339 in UTC to
    the millisecond. `agent` is a name or a SPIFFE ID. An event that is no call has none of what only calls have.
    """

    since: str | None = None
    until: str | None = None
    agent: str | None = None
    owner: str | None = None
    team: str | None = None
    resource: str | None = None
    action: str | None = None
    decision: str | None = None
    code: str | None = None

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read a filter as it stands in a query; raise `ValueError`, naming the part, for one that asks nothing known.

        Times are dates (`2026-11-24`, its first moment in UTC) or RFC 3339 with an offset.
        """
        for name in given:
            if name not in NAMES:
                raise ValueError(f"{name}: there is no such filter; there is {', '.join(NAMES)}")
        parts: dict[str, str] = {name: value for name, value in given.items() if value}
        for name in ("since", "until"):
            if name in parts:
                parts[name] = _moment(name, parts[name])
        if parts.get("decision", "permit") not in DECISIONS:
            raise ValueError(f"decision: is {' or '.join(DECISIONS)}")
        return cls(**parts)

    def query(self) -> dict[str, str]:
        """Return the parts that ask for something, by name; `parse` reads them again."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _moment(name: str, text: str) -> str:
    try:
        moment = datetime.datetime.fromisoformat(text)
        if "T" not in text and " " not in text:
            moment = moment.replace(tzinfo=datetime.UTC)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    except (ValueError, OverflowError):
        raise ValueError(f"{name}: is a date or a time with its offset, as 2026-11-24 or 2026-11-24T08:00Z") from None
