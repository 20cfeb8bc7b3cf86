"""`aam trail report`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.audit import timestamp
from broker.audit.views import read_stream
from broker.audit.views.report import Month, MonthReport, render
from broker.audit.views.values import number_at
from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, counted, fail, plain, print_json, problems, stop
from broker.cli.trail.progress import progress
from broker.cli.trail.writing import STDOUT, refuse_to_replace, writing
from broker.errors import Refusal


def report(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Where to write it; '-' writes it to stdout.", show_default="aam-report-MONTH.html", metavar="[FILE]"
        ),
    ] = None,
    *,
    month: Annotated[str, typer.Option("--month", help="Which month, in UTC, as 2026-11.")],
    directory: Directory = HERE,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write one month's report as a page of HTML that can be printed and filed."""
    wanted = _month(month, as_json=as_json)
    place = file or Path(f"aam-report-{wanted.name}.html")
    if place == STDOUT and as_json:
        stop("'-' and --json would both write to stdout; name a file.", as_json=as_json)
    try:
        if place != STDOUT:
            refuse_to_replace(place, force=force, as_json=as_json)
        made = _read(directory, wanted)
        _write(render(made).encode(), place)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    except ValueError as error:
        stop(f"The broker's answer is no export: {error}.", as_json=as_json, status=PROBLEM)
    except BrokenPipeError:
        raise
    except OSError as error:
        stop(f"The report cannot be written to {place}: {error.strerror or error}.", as_json=as_json)
    _say(made, place, as_json=as_json)
    raise typer.Exit(0 if made.whole else PROBLEM)


def _month(text: str, *, as_json: bool) -> Month:
    """Return the month that is asked for; end the command if there is nothing to report of it."""
    try:
        wanted = Month.parse(text)
    except ValueError as error:
        stop(f"--month {text!r}: {error}.", as_json=as_json)
    if wanted.since > timestamp():
        stop(f"--month {wanted.name} has not begun yet.", as_json=as_json)
    return wanted


def _read(directory: Path, month: Month) -> MonthReport:
    """Fold the broker's records; raise `ValueError` if what it says is no export, or is not whole."""
    wanted = {"since": month.since, "until": month.until, "purpose": "report"}
    made = MonthReport(month, made=timestamp())
    with Daemon(directory).stream("/v1/trail/export", **wanted) as lines:
        made.basis = _statement(next(lines, b""))
        size = number_at(made.basis, "size")
        made.read(read_stream(progress(lines, size or 0, "reading")))
    if size is not None and made.reached != size:
        raise ValueError(f"it ended after {made.reached} of {size} records")
    return made


def _statement(line: bytes) -> dict[str, Any]:
    """Read what an export says of itself; what it may say besides is for those who know it."""
    try:
        stated = json.loads(line)
    except (ValueError, RecursionError):
        stated = None
    if not isinstance(stated, dict) or "export" not in stated:
        raise ValueError("its first line is no statement")
    return stated


def _write(page: bytes, place: Path) -> None:
    if place == STDOUT:
        sys.stdout.buffer.write(page)
        sys.stdout.buffer.flush()
        return
    with writing(place) as out:
        out.write(page)


def _say(made: MonthReport, place: Path, *, as_json: bool) -> None:
    said = dict(_summary(made))
    if as_json:
        print_json({"file": str(place), **said})
        return
    out = problems if place == STDOUT else console
    out.print(
        f"[green]{counted(said['calls'], 'call')}[/green] in {made.month.name}, {said['denied']} denied or refused, "
        f"{said['unclear']} without a known end; written to {plain(place)}"
    )
    if not made.whole:
        problems.print("[red]Records are missing and nothing says why[/red]; see 'aam trail verify'.")


def _summary(made: MonthReport) -> Iterator[tuple[str, Any]]:
    yield "month", made.month.name
    yield "calls", made.calls.total()
    yield "denied", made.denials.total()
    yield "unclear", made.unclear.number
    yield "records_absent", made.absent
    for name in ("log", "size", "root"):
        yield name, made.basis.get(name)
