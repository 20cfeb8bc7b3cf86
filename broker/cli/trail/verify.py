"""`aam trail verify`."""

from pathlib import Path
from typing import Annotated

import typer

from broker.audit import Report, Statement, read_export, verify
from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, fail, plain, print_json, stop
from broker.cli.trail.progress import progress
from broker.errors import Refusal


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


def _verify_live(directory: Path) -> Report:
    with Daemon(directory).stream("/v1/trail/export", purpose="verify") as lines:
        stated = Statement.parse(next(lines, b""))
        return verify(progress(lines, stated.size, "verifying"), stated)


def _verify_file(file: Path) -> Report:
    stated, records = read_export(file)
    return verify(progress(records, stated.size, "verifying"), stated)


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
