"""Sets of documents as commands take them: checked whole, or the command ends."""

import datetime
from pathlib import Path

from broker.cli.output import PROBLEM, nearest, stop
from broker.documents import Invalid, Snapshot, load


def loaded(directory: Path, *, as_json: bool) -> Snapshot:
    """Load a set; end the command if it has mistakes."""
    try:
        snapshot = load(directory)
    except Invalid as invalid:
        first = invalid.problems[0]
        message = f"The documents in {directory} have mistakes, the first: {first}. 'aam check {directory}' lists them."
        stop(message, as_json=as_json, status=PROBLEM)
    return snapshot


def workload_of(snapshot: Snapshot, name: str, *, as_json: bool) -> str:
    """Return the workload of an agent, by its name or SPIFFE ID; end the command if nothing is known of it."""
    agents = snapshot.registry.agents
    for agent in agents.values():
        if name in {agent.name, agent.workload}:
            return agent.workload
    if name not in snapshot.policies:
        stop(f"There is no agent {name!r}{nearest(name, [one.name for one in agents.values()])}", as_json=as_json)
    return name


def moment(text: str, option: str, *, as_json: bool) -> datetime.datetime:
    """Return a moment that an option names; end the command if it names none."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        stop(f"{option}: {text!r} is no moment; write 2026-11-28 or 2026-11-28T09:00:00Z.", as_json=as_json)
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)
