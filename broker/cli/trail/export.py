"""`aam trail export`."""

import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from broker.audit import Statement
from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import (
    PROBLEM,
    AsJson,
    console,
    counted,
    fail,
    plain,
    print_json,
    problems,
    stop,
)
from broker.cli.trail.progress import progress
from broker.cli.trail.writing import STDOUT, refuse_to_replace, writing
from broker.errors import Refusal


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
    if file == STDOUT and as_json:
        stop("'-' and --json would both write to stdout; name a file.", as_json=as_json)
    try:
        if file == STDOUT:
            stated = _copy(directory, sys.stdout.buffer)
        else:
            refuse_to_replace(file, force=force, as_json=as_json)
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
        (problems if file == STDOUT else console).print(
            f"[green]{counted(stated.size, 'record')}[/green] in {plain(file)}; root {stated.root}"
        )


def _export(directory: Path, file: Path) -> Statement:
    """Write the export beside its name and move it there once every record is on disk."""
    with writing(file) as out:
        return _copy(directory, out)


def _copy(directory: Path, out: BinaryIO) -> Statement:
    """Write the broker's export; raise `ValueError` if it is none, or is not whole."""
    with Daemon(directory).stream("/v1/trail/export") as lines:
        stated = Statement.parse(next(lines, b""))
        out.write(stated.line() + b"\n")
        written = 0
        for line in progress(lines, stated.size, "exporting"):
            out.write(line + b"\n")
            written += 1
        out.flush()
    if written != stated.size:
        raise ValueError(f"it ended after {written} of {stated.size} records")
    return stated
