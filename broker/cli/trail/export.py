"""`aam trail export`."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from broker.audit import Filter, Statement
from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, counted, fail, nearest, plain, print_json, problems, stop
from broker.cli.trail.bundle import write_bundle
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
from broker.cli.trail.formats import write_csv, write_ocsf
from broker.cli.trail.progress import progress
from broker.cli.trail.whole import Whole
from broker.cli.trail.writing import STDOUT, refuse_to_replace, writing
from broker.errors import Refusal

Write = Callable[[Daemon, Statement, Iterator[bytes], BinaryIO], None]


def export(
    file: Annotated[
        Path,
        typer.Argument(
            help="Where to write it; it appears under this name only once it is whole. '-' writes it to stdout."
        ),
    ],
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
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="jsonl, csv, ocsf or bundle; without it, the end of the file's name says it: .csv, .zip for a bundle.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the trail, or the calls and events that you choose, under a signed head: for machines, or for strangers."""
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
    write = _form(form, file, as_json=as_json)
    if file == STDOUT and (as_json or write is write_bundle):
        stop("'-' is for one file of text, without --json; name a file.", as_json=as_json)
    whole = Whole()
    try:
        if file == STDOUT:
            stated = _export(directory, wanted, write, sys.stdout.buffer, whole)
        else:
            refuse_to_replace(file, force=force, as_json=as_json)
            with writing(file) as out:
                stated = _export(directory, wanted, write, out, whole)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    except ValueError as error:
        stop(f"The broker's answer is no export: {error}.", as_json=as_json, status=PROBLEM)
    except BrokenPipeError:
        raise
    except OSError as error:
        stop(f"The export cannot be written to {file}: {error.strerror or error}.", as_json=as_json)
    if as_json:
        facts = {"file": str(file), "records": whole.records, "size": stated.size, "root": stated.root}
        print_json({**facts, "log": stated.log, "filter": dict(stated.filter)})
        return
    count = counted(whole.records, "record") + (f" of {stated.size}" if whole.records != stated.size else "")
    (problems if file == STDOUT else console).print(f"[green]{count}[/green] in {plain(file)}; root {stated.root}")


def _form(form: str | None, file: Path, *, as_json: bool) -> Write:
    """Return how to write what was asked for."""
    named = form or {".zip": "bundle", ".csv": "csv"}.get(file.suffix, "jsonl")
    if named not in _FORMS:
        stop(f"There is no format {named!r}{nearest(named, _FORMS)}", as_json=as_json)
    return _FORMS[named]


def _export(directory: Path, wanted: Filter, write: Write, out: BinaryIO, whole: Whole) -> Statement:
    """Write the broker's export; raise `ValueError` if it is none, or is not whole."""
    daemon = Daemon(directory)
    with daemon.stream("/v1/trail/export", **wanted.query()) as lines:
        stated = Statement.parse(next(lines, b""))
        write(daemon, stated, whole.checked(progress(lines, stated.size, "exporting"), stated), out)
    return stated


def _write_lines(_daemon: Daemon, stated: Statement, lines: Iterator[bytes], out: BinaryIO) -> None:
    out.write(stated.line() + b"\n")
    out.writelines(line + b"\n" for line in lines)
    out.flush()


def _write_csv(_daemon: Daemon, _stated: Statement, lines: Iterator[bytes], out: BinaryIO) -> None:
    write_csv(lines, out)


def _write_ocsf(_daemon: Daemon, _stated: Statement, lines: Iterator[bytes], out: BinaryIO) -> None:
    write_ocsf(lines, out)


_FORMS: dict[str, Write] = {"jsonl": _write_lines, "csv": _write_csv, "ocsf": _write_ocsf, "bundle": write_bundle}
