"""`aam trail`."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.progress import Progress

from broker.audit import Report, Statement, read_export, verify
from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import (
    PROBLEM,
    AsJson,
    as_json_text,
    console,
    counted,
    fail,
    is_taken,
    nearest,
    plain,
    print_json,
    problems,
    stop,
)
from broker.cli.records import RecordLines, print_whole
from broker.errors import Refusal

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Read, export and verify the trail.",
    epilog="Example: aam trail tail --dir ./access",
)

_FOLLOW_SECONDS = 0.5
_MOST_RECORDS = 1000  # that the broker gives at once
_STATUSES = ("released", "refused", "failed", "withheld", "cancelled", "outcome_unknown")
_STDOUT = Path("-")


@app.command(epilog="Example: aam trail tail --last 50 --follow")
def tail(
    directory: Directory = HERE,
    *,
    last: Annotated[int, typer.Option(min=1, max=_MOST_RECORDS, help="How many records to begin with.")] = 20,
    status: Annotated[
        str | None,
        typer.Option(help=f"Only ends of calls like this: {', '.join(_STATUSES)} (of the last {_MOST_RECORDS})."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes; JSON is then one a line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest records, oldest first."""
    if status is not None and status not in _STATUSES:
        stop(f"No call ends as {status!r}{nearest(status, _STATUSES)}", as_json=as_json)
    try:
        daemon = Daemon(directory)
        records = daemon.get("/v1/trail", last=last if status is None else _MOST_RECORDS)
        wanted = _of_status(records, status)[-last:]
        if follow:
            _follow(daemon, records, wanted, status, as_json=as_json)
        elif as_json:
            print_json(wanted)
        elif wanted:
            RecordLines().show(wanted)
        else:
            console.print("The trail has no such records.")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)


@app.command(epilog="Example: aam trail show 01980e2b-6f0c-7c3e-9d1e-2f4a5b6c7d8e")
def show(
    call: Annotated[str, typer.Argument(help="The call's id.")],
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Show everything that was recorded of one call."""
    try:
        records = Daemon(directory).get(f"/v1/trail/calls/{quoted(call)}")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(records)
        return
    for record in records:
        print_whole(record)


@app.command(epilog="Example: aam trail export trail.jsonl")
def export(
    file: Annotated[
        Path,
        typer.Argument(
            help="Where to write it; it appears under this name only once it is whole. '-' writes it to stdout."
        ),
    ],
    directory: Directory = HERE,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the whole trail as JSON Lines of canonical records, behind a statement of its size and root."""
    if file == _STDOUT and as_json:
        stop("'-' and --json would both write to stdout; name a file.", as_json=as_json)
    try:
        if file == _STDOUT:
            stated = _copy(directory, sys.stdout.buffer)
        else:
            _refuse_to_replace(file, force=force, as_json=as_json)
            stated = _export(directory, file)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    except ValueError as error:
        stop(f"The broker's answer is no export: {error}.", as_json=as_json, status=PROBLEM)
    except BrokenPipeError:
        raise
    except OSError as error:
        stop(f"The export cannot be written to {file}: {error.strerror or error}.", as_json=as_json)
    if as_json:
        print_json({"file": str(file), "size": stated.size, "root": stated.root, "log": stated.log})
    else:
        (problems if file == _STDOUT else console).print(
            f"[green]{counted(stated.size, 'record')}[/green] in {plain(file)}; root {stated.root}"
        )


@app.command("verify", epilog="Example: aam trail verify trail.jsonl")
def verify_command(
    file: Annotated[Path | None, typer.Argument(help="An export; without one, the running broker's trail.")] = None,
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Check that records are unchanged, complete and in order; name the first that is not and exit 1."""
    try:
        report = _verify_live(directory) if file is None else _verify_file(file)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    except OSError as error:
        stop(f"The export {file} cannot be read: {error.strerror or error}.", as_json=as_json)
    except ValueError as error:
        report = Report().fail(None, str(error))
    _print_report(report, as_json=as_json)
    raise typer.Exit(0 if report.holds else PROBLEM)


def _follow(daemon: Daemon, records: list[Any], wanted: list[Any], status: str | None, *, as_json: bool) -> None:
    """Print what comes until somebody stops it."""
    lines = RecordLines()
    try:
        while True:
            if as_json:
                sys.stdout.writelines(as_json_text(record, indent=None) + "\n" for record in wanted)
            else:
                lines.show(wanted)
            sys.stdout.flush()
            time.sleep(_FOLLOW_SECONDS)
            after = records[-1]["seq"] if records else -1
            newer = daemon.get("/v1/trail", after=after)
            records, wanted = newer or records, _of_status(newer, status)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _refuse_to_replace(file: Path, *, force: bool, as_json: bool) -> None:
    """End the command if what is in the export's place must stay."""
    if is_taken(file):
        stop(f"{file} is there and is no regular file; name another, or '-' for stdout.", as_json=as_json)
    if file.exists() and not force:
        stop(f"{file} is there already; name another, or replace it with --force.", as_json=as_json)


def _export(directory: Path, file: Path) -> Statement:
    """Write the export beside its name and move it there once every record is on disk."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # for its owner only
    try:
        with os.fdopen(descriptor, "wb") as out:
            stated = _copy(directory, out)
            os.fsync(out.fileno())
        Path(partial).replace(file)
    finally:
        Path(partial).unlink(missing_ok=True)
    return stated


def _copy(directory: Path, out: BinaryIO) -> Statement:
    """Write the broker's export; raise `ValueError` if it is none, or is not whole."""
    with Daemon(directory).stream("/v1/trail/export") as lines:
        stated = Statement.parse(next(lines, b""))
        out.write(stated.line() + b"\n")
        written = 0
        for line in _progress(lines, stated.size, "exporting"):
            out.write(line + b"\n")
            written += 1
        out.flush()
    if written != stated.size:
        raise ValueError(f"it ended after {written} of {stated.size} records")
    return stated


def _verify_live(directory: Path) -> Report:
    with Daemon(directory).stream("/v1/trail/export", purpose="verify") as lines:
        stated = Statement.parse(next(lines, b""))
        return verify(_progress(lines, stated.size, "verifying"), stated)


def _verify_file(file: Path) -> Report:
    stated, records = read_export(file)
    return verify(_progress(records, stated.size, "verifying"), stated)


def _progress(lines: Iterator[bytes], size: int, what: str) -> Iterator[bytes]:
    """Show how far it is and how long it will take, where somebody watches."""
    with Progress(console=problems, transient=True, disable=not problems.is_terminal) as progress:
        task = progress.add_task(what, total=size)
        for number, line in enumerate(lines):
            if number % 1000 == 0:
                progress.update(task, completed=number)
            yield line


def _print_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "ok": report.holds,
                "records": report.records,
                "root": report.root,
                "proved": report.proved,
                "not_proved": report.open,
                "first_bad_record": report.first_bad,
                "problem": report.problem,
            }
        )
        return
    if report.holds:
        for sentence in report.proved:
            console.print(f"[green]proved[/green]      {plain(sentence)}")
    else:
        where = "" if report.first_bad is None else f"record {report.first_bad}: "
        console.print(f"[red]does not hold[/red]  {where}{plain(report.problem)}")
    for sentence in report.open:
        console.print(f"[dim]not proved[/dim]  {plain(sentence)}")


def _of_status(records: list[dict[str, Any]], status: str | None) -> list[dict[str, Any]]:
    return [record for record in records if status is None or (record.get("outcome") or {}).get("status") == status]
