"""`aam trail search`."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import AsJson, console, fail, plain, print_json
from broker.cli.records import lag_of
from broker.cli.trail.filters import (
    Action,
    Agent,
    Code,
    Decision,
    Owner,
    Resource,
    Since,
    Team,
    Until,
    chosen,
)
from broker.errors import Refusal

_MOST_ENTRIES = 200  # that the broker gives at once
_WIDEST = 60  # characters of a cell: what an agent calls a tool that there is not is its own choice


def search(
    directory: Directory = HERE,
    *,
    since: Since = None,
    until: Until = None,
    agent: Agent = None,
    owner: Owner = None,
    team: Team = None,
    resource: Resource = None,
    action: Action = None,
    decision: Decision = None,
    code: Code = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_ENTRIES, help="How many at most.")] = 50,
    before: Annotated[int | None, typer.Option(min=1, help="Go on where a page has ended.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find calls and events, newest first: one a line, a call's id at its end."""
    wanted = chosen(
        as_json=as_json,
        since=since,
        until=until,
        agent=agent,
        owner=owner,
        team=team,
        resource=resource,
        action=action,
        decision=decision,
        code=code,
    )
    place = {"limit": limit} if before is None else {"limit": limit, "before": before}
    try:
        found = Daemon(directory).get("/v1/trail/search", **wanted.query(), **place)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    lines = [_cells(entry) for entry in found["entries"]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        console.print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    if not lines:
        console.print("Nothing in the trail matches.")
    if found["next"] is not None:
        console.print(f"[dim]There are older ones: the same command with --before {found['next']}[/dim]")
    if lag := lag_of(found["lag"]):
        console.print(f"[yellow]The index is {lag}:[/yellow] what it has not read yet is not among these.")


def _cells(entry: dict[str, Any]) -> Sequence[str]:
    """Return what a line says of an entry: when, who, what, the decision, how it ended, and the call's id."""
    actor = entry["actor"] if isinstance(entry["actor"], dict) else {}
    who = entry["agent"] or entry["workload"] or actor.get("user") or actor.get("service")
    asked = " ".join(str(part) for part in (entry["resource"], entry["action"]) if part) or entry["tool"]
    what = asked if entry["kind"] == "call" else entry["kind"] or "(no longer readable)"
    ended = " ".join(str(part) for part in (entry["status"], entry["code"]) if part)
    cells = (entry["time"], who, what, entry["decision"], ended)
    shown = [plain(str(cell or "-")[:_WIDEST]) for cell in cells]
    return [*shown, plain(entry["call_id"] or f"record {entry['seq']}")]
