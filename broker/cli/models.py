"""`aam models`."""

from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import PROBLEM, AsJson, console, fail, plain, print_json, print_table, problems
from broker.errors import Refusal

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="See which models there are, what answers for them, and whether it does.",
    epilog="Example: aam models list --as finance-analyst",
)


@app.command("list", epilog="Example: aam models list --as finance-analyst --dir ./access")
def list_models(
    agent: Annotated[
        str | None, typer.Option("--as", help="Only what this agent may use: its name or workload.")
    ] = None,
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """List the models with their targets, prices and limits, and which targets are left alone after failures."""
    try:
        found = Daemon(directory).get("/v1/models", **({} if agent is None else {"as": agent}))
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("model", "target", "where", "$ per million in / out", "most output", "APIs", "state")
    rows = [_row(model, number, target) for model in found for number, target in enumerate(model["targets"])]
    print_table(columns, rows, "There are no models for this agent." if agent else "No ModelRoute document is there.")


@app.command("test", epilog="Example: aam models test reasoning-high")
def try_route(
    route: Annotated[str, typer.Argument(help="The route's name: the model, as agents call it.")],
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Make one small call to every target of a route. It is paid for, and on record; no agent's budget counts it."""
    if not as_json:
        problems.print(f"[dim]asking every target of {plain(route)}…[/dim]")
    try:
        found = Daemon(directory).post(f"/v1/models/{quoted(route)}/test")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        for one in found:
            console.print(_line(one))
    raise typer.Exit(0 if all(one["works"] for one in found) else PROBLEM)


def _row(model: dict[str, Any], number: int, target: dict[str, Any]) -> tuple[Any, ...]:
    price, rests = target["price"], target["rests_seconds"]
    where = ", ".join([target["region"] or "", *target["labels"]]).strip(", ")
    return (
        model["name"] if number == 0 else "",
        target["target"],
        where or "not stated",
        f"{price['input']:g} / {price['output']:g}" if price else "unknown",
        model["max_output_tokens"] if number == 0 else "",
        " ".join(model["apis"]) if number == 0 else "",
        f"rests for {rests} s" if rests else "in use",
    )


def _line(one: dict[str, Any]) -> str:
    if not one["works"]:
        return f"[red]fails[/red]  {plain(one['target'])}  {plain(one['problem'])}"
    return (
        f"[green]works[/green]  {plain(one['target'])}  {one['ms']} ms, on {one['api']}, as {plain(one['answered_by'])}"
    )
