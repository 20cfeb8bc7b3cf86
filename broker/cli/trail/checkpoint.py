"""`aam trail checkpoint`, `aam trail keys` and `aam trail rotate-key`."""

import sys
from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, counted, fail, plain, print_json, print_table, problems
from broker.errors import Refusal


def checkpoint(
    directory: Directory = HERE,
    *,
    ship: Annotated[bool, typer.Option("--ship", help="Ship it now, wherever heads go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the trail's head, signed now: keep it, and a log that was rewritten since is found out."""
    try:
        daemon = Daemon(directory)
        made = daemon.post("/v1/trail/checkpoint") if ship else daemon.get("/v1/trail/checkpoint")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(made)
    else:
        sys.stdout.write(made["checkpoint"])
        for sink in made["ship"]:
            problems.print(_shipped(sink))
    raise typer.Exit(PROBLEM if ship and any(sink["problem"] for sink in made["ship"]) else 0)


def keys(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List the public keys of the log, the oldest first: the last one signs, and each endorses the next."""
    try:
        found = Daemon(directory).get("/v1/trail/keys")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    rows = [(one["vkey"], "signs" if one is found[-1] else "signed before") for one in found]
    print_table(("key", "use"), rows, "There are no keys.")


def rotate_key(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Make another signing key, endorsed by the one in use; what was signed before stays good."""
    try:
        made = Daemon(directory).post("/v1/trail/keys")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(made)
        return
    console.print(f"The trail is signed from now on by\n  {plain(made['vkey'])}")
    console.print("Publish it where those who check will look for it; the key before endorses it.")


def _shipped(sink: dict[str, Any]) -> str:
    name = plain(sink["name"])
    last = (
        f"last shipped {counted(sink['records'], 'record')} at {plain(sink['at'])}" if sink["at"] else "never shipped"
    )
    if sink["problem"]:
        return f"[red]not shipped[/red] to {name}: {plain(sink['problem'])}; {last}"
    return f"[dim]{name}: {last}[/dim]"
