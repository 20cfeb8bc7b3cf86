"""`aam documents rollback`: this command's own user writes the files; the daemon puts on record who meant it."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.documents.sets import SHORT, Shown, content_of, find_set
from broker.cli.output import PROBLEM, AsJson, console, fail, plain, print_json, problems, stop
from broker.documents import Invalid
from broker.documents.replace import Restoration
from broker.documents.restore import CannotRestore, Plan, Wanted, plan
from broker.errors import Refusal

_PATIENCE = 30.0  # seconds in which a broker has loaded what lies in its directory
_LOOK_EVERY = 0.1


def rollback(
    digest: Annotated[str, typer.Argument(help="The digest of the set to bring back, or its first digits.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the trail.")],
    directory: Directory = HERE,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files even if the history does not know what is in them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put the files of an earlier set back in place, and wait until it is in force; half-way failures are put back."""
    if not reason.strip():
        stop("Say with --reason why; it stands in the trail.", as_json=as_json)
    try:
        daemon = Daemon(directory)
        before = _status(daemon, directory, as_json=as_json)
        wanted = _wanted(daemon, find_set(daemon, digest))
        planned = _planned(daemon, directory, wanted, force=force)
        if not planned.write and not planned.remove and before["digest"] == wanted.digest:
            _say(planned, None, restart=False, as_json=as_json)
            return
        if not as_json:
            _print(planned)
        _ask(yes=yes, as_json=as_json)
        restart = _carry_out(daemon, planned, reason, before)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    except CannotRestore as problem:
        stop(str(problem), as_json=as_json, status=PROBLEM)
    _say(planned, before["digest"], restart=restart, as_json=as_json)


def _status(daemon: Daemon, directory: Path, *, as_json: bool) -> Shown:
    """Return what the broker says of its documents; end the command if they lie in another directory."""
    found: Shown = daemon.get("/v1/status")["documents"]
    if Path(found["directory"]) != directory.resolve():
        stop(f"The broker's documents are in {found['directory']}; name that with --dir.", as_json=as_json)
    return found


def _wanted(daemon: Daemon, found: Shown) -> Wanted:
    """Fetch a set, with all of its contents that are kept."""
    files = {file["name"]: file["sha256"] for file in found["files"]}
    contents = {sha256: content_of(daemon, sha256) for sha256 in set(files.values()) if sha256 is not None}
    return Wanted(found["digest"], files, {one: text for one, text in contents.items() if text is not None})


def _planned(daemon: Daemon, directory: Path, wanted: Wanted, *, force: bool) -> Plan:
    """Return what is to be done, if it would be right and loses nobody's work; raise `CannotRestore`, or `Invalid`."""
    planned = plan(directory, wanted)
    unknown = [name for name, sha256 in planned.replaced.items() if content_of(daemon, sha256) is None]
    if unknown and not force:
        raise CannotRestore(
            f"The history does not know what is in {', '.join(unknown)}: save it elsewhere, or lose it with --force."
        )
    try:
        planned.check()
    except Invalid as invalid:
        first = "; ".join(map(str, invalid.problems[:3]))
        raise CannotRestore(f"This set is not right any more, so it would not be loaded: {first}.") from None
    return planned


def _ask(*, yes: bool, as_json: bool) -> None:
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        stop("Nothing is changed unless you say --yes.", as_json=as_json)
    if not typer.confirm("Roll back?"):
        raise typer.Exit(PROBLEM)


def _carry_out(daemon: Daemon, planned: Plan, reason: str, before: Shown) -> bool:
    """Put the intention on record, the files in place, and wait; tell whether the broker needs a restart."""
    with Restoration(planned) as restoration:
        begun = daemon.post("/v1/documents/rollback", {"digest": planned.wanted.digest, "reason": reason})
        try:
            restoration.apply()
            restart = _until_in_force(daemon, planned.wanted.digest, before)
            restoration.keep()
        except BaseException:
            restoration.put_back()
            _give_up(daemon, begun["id"], restoration.left)
            raise
    return restart


def _until_in_force(daemon: Daemon, digest: str, before: Shown) -> bool:
    """Wait until the broker says that the set is in force; raise `CannotRestore` if it will not have it."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        now = daemon.get("/v1/status")["documents"]
        if now["digest"] == digest and (not now["problems"] or before["digest"] != digest):
            newest = daemon.get("/v1/documents/history", last=1)["sets"][0]
            return bool(newest["restart_needed"])
        if now["problems"] and now["problems"] != before["problems"]:
            raise CannotRestore(f"The broker refuses the set, and everything is as it was: {now['problems'][0]}.")
        time.sleep(_LOOK_EVERY)
    raise CannotRestore(f"The broker has not loaded the set within {_PATIENCE:.0f} s, and everything is as it was.")


def _give_up(daemon: Daemon, rollback_id: str, left: list[str]) -> None:
    """Put on record that nothing came of it, if the broker can still be told."""
    try:
        daemon.delete(f"/v1/documents/rollback/{quoted(rollback_id)}")
    except Refusal as refusal:
        problems.print(f"The broker could not be told: {plain(refusal.message)}")
    if left:
        problems.print(f"Not put back, or changed by somebody else meanwhile: {plain(', '.join(left))}. Look at it.")


def _print(planned: Plan) -> None:
    for name in sorted(planned.write):
        sign, colour = ("~", "yellow") if name in planned.replaced else ("+", "green")
        console.print(f"[{colour}]{sign} {plain(name)}[/{colour}]")
    for name in planned.remove:
        console.print(f"[red]- {plain(name)}[/red]")


def _say(planned: Plan, before: str | None, *, restart: bool, as_json: bool) -> None:
    digest = planned.wanted.digest
    if as_json:
        written, removed = sorted(planned.write), list(planned.remove)
        facts = {"from": before or digest, "to": digest, "written": written, "removed": removed}
        print_json({**facts, "restart_needed": restart})
    elif before is None:
        console.print(f"{digest[:SHORT]} is in force already, and nothing on disk is otherwise.")
    else:
        console.print(f"[green]In force[/green]: {digest[:SHORT]}, after {before[:SHORT]}.")
        if restart:
            console.print("The Broker document is another than the one the broker started with: restart the broker.")
