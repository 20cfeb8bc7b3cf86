"""`aam trail erase`."""

import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, counted, fail, plain, print_json, problems, stop
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

Yes = Annotated[bool, typer.Option("--yes", help="Erase without asking.")]


def erase(
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
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase for good what policies have recorded encrypted of calls. The trail stays whole; legal holds win."""
    options = {
        "since": since, "until": until, "agent": agent, "owner": owner, "team": team,
        "resource": resource, "action": action, "decision": decision, "code": code,
    }  # fmt: skip
    which = wanted(call, chosen(as_json=as_json, **options), as_json=as_json)
    try:
        daemon = Daemon(directory)
        if not yes:
            _ask(daemon, which, as_json=as_json)
        erased = daemon.post("/v1/trail/erase", {**which, "reason": reason})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(erased)
    else:
        _print(erased)
    raise typer.Exit(0 if erased["overwritten"] else PROBLEM)


def _ask(daemon: Daemon, which: Mapping[str, Any], *, as_json: bool) -> None:
    """Go on only if somebody who has seen what will be erased wants it."""
    if as_json or not _can_answer():
        stop("What is erased does not come back: say --yes.", as_json=as_json)
    query = {"call": which["call"]} if "call" in which else which["filter"]
    found = daemon.get("/v1/trail/payloads", **query)
    _print_kept(found["kept"])
    if not typer.confirm(f"Erase {_counts(found)} for good?"):
        raise typer.Exit(PROBLEM)


def _can_answer() -> bool:
    return sys.stdin.isatty()


def _print(erased: Mapping[str, Any]) -> None:
    console.print(f"[green]erased[/green]: {_counts(erased)}")
    _print_kept(erased["kept"])
    if not erased["overwritten"]:
        problems.print(
            "The sealed bytes still stand in the store's write-ahead log, because somebody is reading the store: "
            "run this again once no export is running."
        )


def _print_kept(kept: Iterable[Mapping[str, Any]]) -> None:
    for one in kept:
        console.print(f"[yellow]kept[/yellow]: {counted(one['calls'], 'call')} by the hold {plain(one['hold'])}")


def _counts(found: Mapping[str, Any]) -> str:
    return f"{counted(found['values'], 'value')} of {counted(found['calls'], 'call')}"
