"""`aam trail`."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from broker.audit import Report, Statement, read_export, verify
from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import MISUSE, PROBLEM, AsJson, console, fail, plain, print_json, print_table, problems
from broker.errors import Refusal

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Read, export and verify the trail.",
    epilog="Example: aam trail tail --dir ./access",
)

_FOLLOW_SECONDS = 0.5


@app.command(epilog="Example: aam trail tail --last 50 --follow")
def tail(
    directory: Directory = HERE,
    *,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many records to begin with.")] = 20,
    status: Annotated[str | None, typer.Option(help="Only calls that ended like this: refused, failed, …")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest records, oldest first."""
    daemon = Daemon(directory)
    try:
        records = daemon.get("/v1/trail", last=last)
        print_records(_of_status(records, status), as_json=as_json)
        while follow:
            time.sleep(_FOLLOW_SECONDS)
            after = records[-1]["seq"] if records else -1
            newer = daemon.get("/v1/trail", after=after)
            records = newer or records
            if wanted := _of_status(newer, status):
                print_records(wanted, as_json=as_json)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


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
        console.print(f"[bold]{plain(record['kind'])}[/bold]  {plain(record['time'])}  record {record['seq']}")
        for name, value in _flat(record):
            console.print(f"  [dim]{plain(name):<28}[/dim] {plain(value)}")


@app.command(epilog="Example: aam trail export trail.jsonl")
def export(
    file: Annotated[Path, typer.Argument(help="Where to write it; it appears under this name only once it is whole.")],
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Write the whole trail as JSON Lines of canonical records, behind a statement of its size and root."""
    partial = file.with_name(file.name + ".part")
    try:
        with Daemon(directory).stream("/v1/trail/export") as lines, partial.open("wb") as out:
            first = next(lines)
            stated = Statement.parse(first)
            out.write(first + b"\n")
            for line in _progress(lines, stated.size, "exporting"):
                out.write(line + b"\n")
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    except OSError as error:
        problems.print(f"[red]The export cannot be written:[/red] {plain(error)}")
        raise typer.Exit(PROBLEM) from None
    finally:
        partial.unlink(missing_ok=True)
    if as_json:
        print_json({"file": str(file), "size": stated.size, "root": stated.root, "log": stated.log})
    else:
        console.print(f"[green]{stated.size} records[/green] in {plain(file)}; root {stated.root}")


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
        problems.print(f"[red]The export cannot be read:[/red] {plain(error)}")
        raise typer.Exit(MISUSE) from None
    except ValueError as error:
        problems.print(f"[red]{plain(error)}[/red]")
        raise typer.Exit(PROBLEM) from None
    _print_report(report, as_json=as_json)
    raise typer.Exit(0 if report.holds else PROBLEM)


def _verify_live(directory: Path) -> Report:
    with Daemon(directory).stream("/v1/trail/export", purpose="verify") as lines:
        stated = Statement.parse(next(lines))
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
    return [record for record in records if status is None or record.get("outcome", {}).get("status") == status]


def print_records(records: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print records, one a line."""
    if as_json:
        print_json(records)
        return
    print_table(
        ("record", "time", "kind", "who", "what", "result", "call"),
        (
            (
                record["seq"],
                record["time"],
                record["kind"],
                _who(record),
                _what(record),
                _result(record),
                record.get("call_id"),
            )
            for record in records
        ),
        "The trail has no such records.",
    )


def _who(record: dict[str, Any]) -> str:
    if "actor" in record:
        return str(record["actor"].get("user") or record["actor"].get("service") or "")
    identity = record.get("identity", {})
    return str(identity.get("agent") or identity.get("spiffe_id") or record.get("origin", {}).get("source") or "")


def _what(record: dict[str, Any]) -> str:
    action = record.get("action", {})
    if "resource" in action:
        return f"{action['resource']} {action['action']}"
    for key in ("connector", "purpose"):
        if key in record:
            return str(record[key])
    return str(action.get("tool") or record.get("grant", {}).get("connector") or "")


def _result(record: dict[str, Any]) -> str:
    if "policy" in record:
        rules = ", ".join(f"{rule['policy']} {rule['place']}" for rule in record["policy"]["rules"])
        return f"{record['policy']['decision']} ({rules or record['policy']['reason']})"
    outcome = record.get("outcome", {})
    parts = (
        outcome.get("status"),
        outcome.get("code"),
        f"{outcome['count']} times" if outcome.get("count", 1) > 1 else None,
    )
    return " ".join(str(part) for part in parts if part)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, member in value.items():
            if path or key not in {"kind", "time", "seq", "v", "log"}:
                yield from _flat(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from _flat(member, f"{path}[{number}]")
    elif value is not None:
        yield path, value
