"""`aam spend`: what models have cost, by whom and with which model: as a table, as CSV, as a chart."""

import csv
import datetime
import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.charts import column
from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, fail, is_taken, nearest, print_json, print_table, stop
from broker.errors import Refusal

app = typer.Typer(pretty_exceptions_enable=False)

_BY = ("agent", "team", "owner", "route", "provider", "model", "day")
_SUMS = ("cost_usd", "calls", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_DOUBTS = ("at_upper_bound", "unpriced")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@app.command(epilog="Example: aam spend --by agent --by model --dir ./access")
def spend(
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="agent, team, owner, route, provider, model or day; repeat it. Agents if not named."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="From this day of UTC on; 30 days ago if not named.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Up to and with this day of UTC.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Of this agent only.")] = None,
    team: Annotated[str | None, typer.Option("--team", help="Of this team only.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Of this model only.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="Of this provider only.")] = None,
    table: Annotated[Path | None, typer.Option("--csv", help="Write CSV to a file, or to stdout: -")] = None,
    directory: Directory = HERE,
    *,
    chart: Annotated[bool, typer.Option("--chart", help="Draw a bar for each row.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sum up what models have cost, from what the broker has settled; the trail has every call behind it."""
    groups = by or ["agent"]
    if wrong := [one for one in groups if one not in _BY]:
        stop(f"There is no --by {wrong[0]!r}{nearest(wrong[0], _BY)}.", as_json=as_json)
    named = {"agent": agent, "team": team, "model": model, "provider": provider}
    query = {"by": ",".join(dict.fromkeys(groups)), **_days(since, until, as_json=as_json)}
    query |= {name: value for name, value in named.items() if value is not None}
    try:
        found = Daemon(directory).get("/v1/spend", **query)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    rows = found["rows"]
    if found["by"] == ["day"]:
        rows.sort(key=lambda row: row["day"])
    if as_json:
        print_json(found)
    elif table is not None:
        _write(table, _csv(found["by"], rows))
    else:
        _print(found["by"], rows, chart=chart)


def _days(since: str | None, until: str | None, *, as_json: bool) -> dict[str, str]:
    """Return the moments that two days of UTC begin and end with."""
    found = {}
    for name, text, more in (("since", since, 0), ("until", until, 1)):
        if text is not None:
            try:
                day = datetime.date.fromisoformat(text) + datetime.timedelta(days=more)
            except (ValueError, OverflowError):
                stop(f"--{name} is a day, as 2026-11-01.", as_json=as_json)
            found[name] = f"{day.isoformat()}T00:00:00Z"
    return found


def _print(by: list[str], rows: list[dict[str, Any]], *, chart: bool) -> None:
    doubts = [name for name in _DOUBTS if any(row[name] for row in rows)]
    columns = [*by, *_SUMS, *doubts]
    bars = column([float(row["cost_usd"]) for row in rows])
    shown = [
        [*(row[name] for name in columns), *([drawn] if chart else [])] for row, drawn in zip(rows, bars, strict=True)
    ]
    header = [name.replace("_", " ") for name in columns] + ([""] if chart else [])
    print_table(header, shown, "No model has cost anything.")
    if "at_upper_bound" in doubts:
        console.print(
            "[dim]at upper bound: nobody said what these cost, so the most that they may have cost counts[/dim]"
        )
    if "unpriced" in doubts:
        console.print("[dim]unpriced: nobody knows what these cost, and no budget applied[/dim]")


def _csv(by: list[str], rows: list[dict[str, Any]]) -> str:
    columns = [*by, *_SUMS, *_DOUBTS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([[_cell(row[name]) for name in columns] for row in rows])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _write(path: Path, text: str) -> None:
    if str(path) == "-":
        sys.stdout.write(text)
        return
    try:
        if is_taken(path):
            stop(f"{path} is no file that could be replaced.", as_json=False)
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        stop(f"{path} cannot be written: {error.strerror}.", as_json=False, status=PROBLEM)
    console.print(f"[green]written[/green]: {path}")
