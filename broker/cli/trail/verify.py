"""`aam trail verify`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from broker.audit import Report, Statement, verify
from broker.audit.check import UncheckableError, check, read_head, read_keys
from broker.audit.checkpoint import Checkpoint
from broker.audit.note import VerifierKey
from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, fail, plain, print_json, stop
from broker.cli.trail.progress import progress
from broker.errors import Refusal


def verify_command(
    file: Annotated[
        Path | None,
        typer.Argument(help="A bundle, an export or a .tlog-proof; without one, the running broker's trail."),
    ] = None,
    directory: Directory = HERE,
    *,
    key: Annotated[
        list[str] | None, typer.Option(help="The log's public key, or a file of keys, that you have from elsewhere.")
    ] = None,
    head: Annotated[
        list[Path] | None, typer.Option(help="A signed head that you kept: the log must have had it on its way.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that records are unchanged, complete and in order under a signed head; name the first bad one, exit 1."""
    trusted, held = _known(key or [], head or [], as_json=as_json)
    try:
        report = _verify_live(directory, trusted, held) if file is None else check(file, trusted, held)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    except OSError as error:
        stop(f"{file} cannot be read: {error.strerror or error}.", as_json=as_json)
    except UncheckableError as error:
        stop(f"{error}.", as_json=as_json)
    except ValueError as error:
        report = Report().fail(None, str(error))
    _print_report(report, as_json=as_json)
    raise typer.Exit(0 if report.holds else PROBLEM)


def _known(keys: Sequence[str], heads: Sequence[Path], *, as_json: bool) -> tuple[list[VerifierKey], list[Checkpoint]]:
    """Read the keys and heads that were given."""
    try:
        trusted = [one for given in keys for one in read_keys(given)]
        return trusted, [read_head(path, trusted) for path in heads]
    except OSError as error:
        stop(f"{error.filename} cannot be read: {error.strerror}.", as_json=as_json)
    except ValueError as error:
        stop(f"What was given cannot be relied on: {error}.", as_json=as_json)


def _verify_live(directory: Path, trusted: Sequence[VerifierKey], held: Sequence[Checkpoint]) -> Report:
    with Daemon(directory).stream("/v1/trail/export", purpose="verify") as lines:
        stated = Statement.parse(next(lines, b""))
        return verify(progress(lines, stated.size, "verifying"), stated, trusted, held)


def _print_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(report.facts())
        return
    for line in _lines(report):
        console.print(line)


def _lines(report: Report) -> Iterator[str]:
    for sentence in report.proved:
        yield f"[green]proved[/green]      {plain(sentence)}"
    if not report.holds:
        where = "" if report.first_bad is None else f"record {report.first_bad}: "
        yield f"[red]does not hold[/red]  {where}{plain(report.problem)}"
    for sentence in report.open:
        yield f"[dim]not proved[/dim]  {plain(sentence)}"
