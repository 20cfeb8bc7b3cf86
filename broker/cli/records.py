"""Records of the trail as people read them."""

from collections.abc import Iterator, Sequence
from typing import Any

from broker.cli.output import console, counted, plain

Record = dict[str, Any]

_KIND = len("authentication_refused")  # the longest
_NARROW = 120  # columns of a terminal on which a record's whole date has no room


class RecordLines:
    """Prints records one a line, those of a call under its id."""

    def __init__(self) -> None:
        self._call: str | None = None

    def show(self, records: Sequence[Record]) -> None:
        """Print records."""
        start = len("2026-11-23T") if console.is_terminal and console.width < _NARROW else 0
        for record in records:
            if record.get("call_id") not in {None, self._call}:
                console.print(f"[dim]call {plain(record['call_id'])}[/dim]")
            self._call = record.get("call_id")
            when = f"[dim]{plain(record['time'][start:])}[/dim]"
            console.print(f"{record['seq']:>6}  {when}  {plain(record['kind']):<{_KIND}} {plain(_said(record))}")


def print_whole(record: Record) -> None:
    """Print everything that one record says."""
    console.print(f"[bold]{plain(record['kind'])}[/bold]  {plain(record['time'])}  record {record['seq']}")
    for name, value in _flat(record):
        console.print(f"  [dim]{plain(name):<28}[/dim] {plain(value)}")


def lag_of(lag: Record) -> str:
    """Say how far the search index is behind the trail; nothing if it is not."""
    return f"{counted(lag['records'], 'record')} behind, for {lag['seconds']:g} s" if lag["records"] else ""


def _said(record: Record) -> str:
    return "  ".join(part for part in (_who(record), _what(record), _result(record)) if part)


def _who(record: Record) -> str:
    if "actor" in record:
        return str(record["actor"].get("user") or record["actor"].get("service") or "")
    identity = record.get("identity") or {}
    return str(identity.get("agent") or identity.get("spiffe_id") or (record.get("origin") or {}).get("source") or "")


def _what(record: Record) -> str:
    action = record.get("action") or {}
    if "resource" in action:
        return f"{action['resource']} {action['action']}"
    for key in ("connector", "purpose", "call", "agent"):
        if key in record:
            return str(record[key])
    named = (record.get("grant") or {}).get("connector") or (record.get("hold") or {}).get("name")
    return str(action.get("tool") or named or "")


def _result(record: Record) -> str:
    if "policy" in record:
        rules = ", ".join(f"{rule['policy']} {rule['place']}" for rule in record["policy"]["rules"])
        return f"{record['policy']['decision']} ({rules or record['policy']['reason']})"
    outcome = record.get("outcome") or {}
    parts = (
        outcome.get("status"),
        outcome.get("code"),
        f"{outcome['count']} times" if outcome.get("count", 1) > 1 else None,
    )
    return " ".join(str(part) for part in parts if part)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, member in value.items():
            if path or key not in {"kind", "time", "seq", "v", "log"}:
                yield from _flat(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from _flat(member, f"{path}[{number}]")
    elif value is not None:
        yield path, value
