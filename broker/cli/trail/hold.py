"""`aam trail hold`: legal holds."""

from collections.abc import Mapping
from typing import Annotated

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import AsJson, console, fail, plain, print_json, print_table
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
from broker.cli.trail.wanted import Call, Why, wanted
from broker.errors import Refusal

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Keep calls from being erased or pruned: legal holds.",
    epilog="Example: aam trail hold list --dir ./access",
)

Name = Annotated[str, typer.Argument(help="The hold's name: a-z, 0-9, '.', '_' and '-'. A name is used once.")]


@app.command(epilog="Example: aam trail hold add case-17 --owner jane@example.com --reason 'Case 17'")
def add(
    name: Name,
    reason: Why,
    directory: Directory = HERE,
    *,
    call: Call = None,
    since: Since = None,
    until: Until = None,
    agent: Agent = None,
    owner: Owner = None,
    team: Team = None,
    resource: Resource = None,
    action: Action = None,
    decision: Decision = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """Keep what matches, now or later, until the hold is released. With times alone, events that are no call too."""
    options = {
        "since": since, "until": until, "agent": agent, "owner": owner, "team": team,
        "resource": resource, "action": action, "decision": decision, "code": code,
    }  # fmt: skip
    which = wanted(call, chosen(as_json=as_json, **options), as_json=as_json)
    try:
        hold = Daemon(directory).post("/v1/trail/holds", {"name": name, **which, "reason": reason})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(hold)
    else:
        console.print(f"[green]held[/green]: {plain(_said(hold['filter']))}")


@app.command("list", epilog="Example: aam trail hold list --json")
def list_holds(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List every hold, the newest first, also those that were released."""
    try:
        found = Daemon(directory).get("/v1/trail/holds")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("name", "keeps", "reason", "created", "released")
    rows = ([one["name"], _said(one["filter"]), one["reason"], one["created"], one["released"]] for one in found)
    print_table(columns, rows, "There is no hold.")


@app.command(epilog="Example: aam trail hold release case-17 --reason 'Case 17 is closed'")
def release(name: Name, reason: Why, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """End a hold: what it kept may be erased and pruned again."""
    try:
        hold = Daemon(directory).post(f"/v1/trail/holds/{quoted(name)}/release", {"reason": reason})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(hold)
    else:
        console.print(f"[green]released[/green]: {plain(name)}")


def _said(wanted: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in wanted.items())
