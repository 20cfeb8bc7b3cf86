"""`aam trail prune`."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.progress import Progress

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import AsJson, console, counted, fail, print_json, problems, stop
from broker.errors import Refusal


@dataclass(slots=True)
class _Sum:
    pruned: int = 0
    held: int = 0


def prune(
    before: Annotated[str, typer.Option(help="Forget what was recorded before this date, or time with its offset.")],
    reason: Annotated[str, typer.Option(help="Why, for the record: the retention rule that asks for it.")],
    directory: Directory = HERE,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget what records past their retention said; hashes stay, so proofs hold. Legal holds win. For good."""
    try:
        daemon = Daemon(directory)
        found = _through(daemon, {"before": before, "reason": reason}, "counting")
        if found.pruned and not dry_run:
            _ask(found, before, yes=yes, as_json=as_json)
            found = _through(daemon, {"before": before, "reason": reason, "really": True}, "pruning")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json({"pruned": 0 if dry_run else found.pruned, "found": found.pruned, "held": found.held})
        return
    would = "would be" if dry_run else "were" if found.pruned != 1 else "was"
    console.print(f"{counted(found.pruned, 'record')} {would} pruned; holds keep {found.held}.")


def _ask(found: _Sum, before: str, *, yes: bool, as_json: bool) -> None:
    """Go on only if somebody says so: nothing brings back what is forgotten."""
    if yes:
        return
    if as_json or not console.is_terminal:
        stop("Nothing brings back what is pruned: say --yes, or count first with --dry-run.", as_json=as_json)
    typer.confirm(f"Forget what {counted(found.pruned, 'record')} before {before} said, for good?", abort=True)


def _through(daemon: Daemon, wanted: dict[str, Any], what: str) -> _Sum:
    """Go through the whole trail, step by step; it ends where it was when it began."""
    found, reached, size = _Sum(), 0, None
    with Progress(console=problems, transient=True, disable=not problems.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        while size is None or reached < size:
            step = daemon.post("/v1/trail/prune", {**wanted, "start": reached})
            found.pruned += step["pruned"]
            found.held += step["held"]
            reached, size = step["reached"], step["size"] if size is None else size
            bar.update(task, completed=reached, total=size)
    return found
