"""What is otherwise in one set of documents than in another, as records say it: files, documents, agents."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from broker.audit import Record

Files = Mapping[str, str | None]
Documents = Mapping[tuple[str, str], str]
T = TypeVar("T")

_ROOM_FOR_FILES = 12_000  # bytes, in a record that holds 65,535 and much else
_ROOM_FOR_DOCUMENTS = 8_000
_OF_AN_AGENT = ("workload", "owner", "team")


def difference(before: tuple[Files, Documents], after: tuple[Files, Documents]) -> Record:
    """Return which files and documents two sets do not have in common; of very many, how many and the first."""
    files, documents = changed_files(before[0], after[0]), changed_documents(before[1], after[1])
    return {
        "files": {"count": len(files), "listed": fitting(files, _ROOM_FOR_FILES)},
        "documents": {"count": len(documents), "listed": fitting(documents, _ROOM_FOR_DOCUMENTS)},
    }


def changed_files(before: Files, after: Files) -> list[dict[str, Any]]:
    """Return every file whose content is another, with both digests; None where there is no such file."""
    return [
        {"name": name, "before": before.get(name), "after": after.get(name)}
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def changed_documents(before: Documents, after: Documents) -> list[dict[str, str]]:
    """Return every document that was added, removed or says something else."""
    return [
        {"kind": kind, "name": name, "change": _word((kind, name) in before, (kind, name) in after)}
        for kind, name in sorted(before.keys() | after.keys())
        if before.get((kind, name)) != after.get((kind, name))
    ]


def changed_agents(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of agents whose status is another, by workload: what they are called may change freely."""
    old, new = ({agent["workload"]: agent for agent in agents} for agents in (before, after))
    return [
        _event(old.get(workload), new.get(workload))
        for workload in sorted(old.keys() | new.keys())
        if old.get(workload, {}).get("status") != new.get(workload, {}).get("status")
    ]


def fitting(listed: Iterable[T], room: int) -> list[T]:
    """Return the first of a list, as many as have room (bytes of JSON)."""
    fits = []
    for one in listed:
        room -= len(json.dumps(one))
        if room < 0:
            break
        fits.append(one)
    return fits


def _event(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Any]:
    known = after or before or {}
    statuses = [agent["status"] if agent else None for agent in (before, after)]
    return {
        "kind": _kind(*statuses),
        "agent": known["name"],
        **{name: known[name] for name in _OF_AN_AGENT},
        "status": {"before": statuses[0], "after": statuses[1]},
    }


def _kind(before: str | None, after: str | None) -> str:
    if before is None:
        return "agent_registered"
    if after is None:
        return "agent_removed"
    return {"suspended": "agent_suspended", "retired": "agent_retired"}.get(after, "agent_resumed")


def _word(was: bool, is_: bool) -> str:  # noqa: FBT001 - its two facts
    return "changed" if was and is_ else "added" if is_ else "removed"
