"""`aam budget`: what may be spent on models, what is, and who has raised it."""

import datetime
import re
from typing import Annotated, Any

import typer

from broker.cli.charts import bar, column
from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import AsJson, console, fail, nearest, plain, print_json, print_table, stop
from broker.errors import Refusal

app = typer.Typer(pretty_exceptions_enable=False, epilog="Example: aam budget --dir ./access")

_PERIODS = ("day", "week", "month")
_UNITS = {"m": 60, "h": 3600, "d": 86400}
_FULL = 100

Agent = Annotated[str | None, typer.Argument(help="The agent's name, or its workload: spiffe://…")]
Team = Annotated[str | None, typer.Option("--team", help="The budget of a team instead.")]
Owner = Annotated[str | None, typer.Option("--owner", help="The budget of an owner instead.")]
Organisation = Annotated[bool, typer.Option("--organisation", help="The budget of all agents together instead.")]
Why = Annotated[str, typer.Option("--reason", help="Why. It stands in the trail for good.")]


@app.callback(invoke_without_command=True)
def budget(context: typer.Context, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Show every budget: spent, held by running calls, left, and when it begins anew. Raise one for a time."""
    if context.invoked_subcommand is None:
        _list(directory, as_json=as_json)


@app.command("list", epilog="Example: aam budget list --json")
def list_budgets(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Show every budget, as 'aam budget' does."""
    _list(directory, as_json=as_json)


@app.command(epilog="Example: aam budget show finance-analyst --windows 14")
def show(
    agent: Agent = None,
    *,
    team: Team = None,
    owner: Owner = None,
    organisation: Organisation = False,
    windows: Annotated[int, typer.Option("--windows", min=1, max=400, help="How many days, weeks or months.")] = 14,
    directory: Directory = HERE,
    as_json: AsJson = False,
) -> None:
    """Show the budgets of one agent, team, owner or of everybody, and plot what its windows have spent so far."""
    whom = _whom(agent, team, owner, organisation=organisation, as_json=as_json)
    try:
        found = Daemon(directory).get("/v1/budgets", past=windows)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    mine = [one for one in found if _is_meant(one, whom)]
    if not mine:
        known = [one["name"] for one in found if one["of"] == next(iter(whom))]
        name = next(iter(whom.values()))
        stop(f"There is no budget of {plain(name)}{nearest(str(name), known)}.", as_json=as_json)
    if as_json:
        print_json(mine)
        return
    for number, one in enumerate(mine):
        if number:
            console.print()
        _print_one(one)


@app.command("raise", epilog="Example: aam budget raise finance-analyst --by 50 --until 8h --reason 'Month end'")
def raise_budget(
    agent: Agent = None,
    *,
    by: Annotated[str, typer.Option("--by", metavar="USD", help="How many dollars more, in each window until then.")],
    until: Annotated[
        str, typer.Option("--until", help="When it ends by itself: 8h, 2d, or a moment: 2026-11-30T18:00:00Z.")
    ],
    reason: Why,
    period: Annotated[str, typer.Option("--period", help="Which budget of theirs: day, week or month.")] = "day",
    team: Team = None,
    owner: Owner = None,
    organisation: Organisation = False,
    directory: Directory = HERE,
    as_json: AsJson = False,
) -> None:
    """Raise a budget for a time: an approval, on record, by an approver who does not answer for who profits."""
    whom: dict[str, Any] = _whom(agent, team, owner, organisation=organisation, as_json=as_json)
    if period not in _PERIODS:
        stop(f"'{plain(period)}' is no period: write day, week or month.", as_json=as_json)
    asked = whom | {"period": period, "by_usd": by, "until": _moment(until, as_json=as_json), "reason": reason}
    try:
        found = Daemon(directory).post("/v1/budgets/raise", asked)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        console.print(
            f"[green]raised[/green]: ${found['by_usd']} more a {found['period']}, until {found['until']} "
            f"[dim]({found['id']})[/dim]"
        )


@app.command(epilog="Example: aam budget raises --json")
def raises(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List the raises in force: whose, by how much, until when, by whom and why."""
    try:
        found = Daemon(directory).get("/v1/budgets/raises")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("id", "of", "name", "period", "by_usd", "until", "by", "reason")
    print_table(columns, ([one[column_] for column_ in columns] for one in found), "No budget is raised.")


@app.command(epilog="Example: aam budget withdraw 0197a2c4-5d6e-7f80-9a1b-2c3d4e5f6071 --reason 'Not needed any more'")
def withdraw(
    raised: Annotated[str, typer.Argument(help="The raise's id.")],
    *,
    reason: Why,
    directory: Directory = HERE,
    as_json: AsJson = False,
) -> None:
    """End a raise before its time."""
    try:
        found = Daemon(directory).post(f"/v1/budgets/raises/{quoted(raised)}/withdraw", {"reason": reason})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        console.print(f"[green]withdrawn[/green]: ${found['by_usd']} a {found['period']}")


@app.command(epilog="Example: aam budget overruns --json")
def overruns(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List calls that cost more than they could, and that nobody has looked at. Exit 1 if there are any."""
    try:
        found = Daemon(directory).get("/v1/budgets/overruns")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        columns = ("id", "call_id", "agent", "provider", "model", "amount_usd", "cost_usd", "settled")
        print_table(columns, ([one[name] for name in columns] for one in found), "No call has overrun its hold.")
    raise typer.Exit(1 if found else 0)


@app.command(epilog="Example: aam budget acknowledge 0197a2c4-5d6e-7f80-9a1b-2c3d4e5f6071 --reason 'Price corrected'")
def acknowledge(
    overrun: Annotated[str, typer.Argument(help="The overrun's id, as 'aam budget overruns' lists it.")],
    *,
    reason: Why,
    directory: Directory = HERE,
    as_json: AsJson = False,
) -> None:
    """Say that you have looked at an overrun: its model is used again."""
    try:
        found = Daemon(directory).post(f"/v1/budgets/overruns/{quoted(overrun)}/acknowledge", {"reason": reason})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        console.print("[green]acknowledged[/green]: the model is used again")


def _list(directory: Any, *, as_json: bool) -> None:
    try:
        found = Daemon(directory).get("/v1/budgets")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("of", "name", "period", "limit", "spent", "held", "left", "", "resets at")
    print_table(columns, map(_row, found), "No agent has a budget.")


def _row(one: dict[str, Any]) -> list[str]:
    dollars = [f"${one[name]}" for name in ("limit_usd", "spent_usd", "held_usd", "left_usd")]
    return [one["of"], one["name"], one["period"], *dollars, _bar(one), one["resets_at"]]


def _bar(one: dict[str, Any]) -> str:
    spent, held = one["percent"]
    return f"{bar((spent / _FULL, 0), (held / _FULL, 1))} {spent + held} %"


def _print_one(one: dict[str, Any]) -> None:
    name = "" if one["of"] == "organisation" else f" {plain(one['name'])}"
    console.print(f"[bold]{one['of']}{name}, each {one['period']}[/bold] ({plain(one['time_zone'])})")
    console.print(f"{_bar(one)} of ${one['limit_usd']}")
    raised = f", raised by ${one['raised_usd']}" if one["raised_usd"] != "0.00" else ""
    console.print(f"spent ${one['spent_usd']}, held ${one['held_usd']}, left ${one['left_usd']}{raised}")
    console.print(f"begins anew at {one['resets_at']}; set by {plain(one['source'])}, '{one['on_insufficient']}'")
    bars = column([float(past["spent_usd"]) for past in one["past"]])
    for past, drawn in zip(one["past"], bars, strict=True):
        console.print(f"{past['start'][:10]}  ${past['spent_usd']:>12}  {drawn}")


def _whom(
    agent: str | None, team: str | None, owner: str | None, *, organisation: bool, as_json: bool
) -> dict[str, Any]:
    """Return whose budget is meant; end the command as misuse unless that is one."""
    named = {"agent": agent, "team": team, "owner": owner, "organisation": organisation or None}
    chosen = {name: value for name, value in named.items() if value is not None}
    if len(chosen) != 1:
        stop("Name one agent, or --team NAME, --owner NAME or --organisation.", as_json=as_json)
    return chosen


def _is_meant(one: dict[str, Any], whom: dict[str, Any]) -> bool:
    ((of, name),) = whom.items()
    return one["of"] == of and (of == "organisation" or name in {one["name"], one["workload"]})


def _moment(text: str, *, as_json: bool) -> str:
    """Return a moment as RFC 3339; end the command as misuse if it is none."""
    if found := re.fullmatch(r"([1-9][0-9]{0,3})([mhd])", text, re.ASCII):
        later = datetime.timedelta(seconds=int(found[1]) * _UNITS[found[2]])
        return (datetime.datetime.now(datetime.UTC) + later).isoformat()
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        stop("--until is 8h, 2d, or a moment with its zone, as 2026-11-30T18:00:00Z.", as_json=as_json)
    return moment.isoformat()
