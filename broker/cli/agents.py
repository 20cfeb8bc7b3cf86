"""`aam agents`: who is registered, and the kill switch."""

from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, counted, fail, plain, print_json, print_table, problems, stop
from broker.errors import Refusal

app = typer.Typer(
    pretty_exceptions_enable=False,
    epilog="Example: aam agents suspend finance-analyst --reason 'Ticket 4711' --dir ./access",
)

Agent = Annotated[str | None, typer.Argument(help="The agent's name, or its workload: spiffe://…")]
Team = Annotated[str | None, typer.Option("--team", help="Every agent of this team instead.")]
Everybody = Annotated[bool, typer.Option("--all", help="Every agent instead.")]
Why = Annotated[str, typer.Option("--reason", help="Why. It stands in the trail for good.")]


@app.callback(invoke_without_command=True)
def agents(context: typer.Context, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List the registered agents: who answers for them, and whether they may call. Suspend and resume them."""
    if context.invoked_subcommand is not None:
        return
    try:
        found = Daemon(directory).get("/v1/agents")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("name", "workload", "owner", "team", "environment", "deployment", "status", "policies", "tools")
    print_table(columns, ([_cell(agent, column) for column in columns] for agent in found), "No agent is registered.")


@app.command(epilog="Example: aam agents suspend --team finance --reason 'Ticket 4711'")
def suspend(
    agent: Agent = None,
    *,
    reason: Why,
    team: Team = None,
    everybody: Everybody = False,
    unregistered: Annotated[
        bool, typer.Option("--unregistered", help="It may be a workload or team that no document names yet.")
    ] = False,
    directory: Directory = HERE,
    as_json: AsJson = False,
) -> None:
    """Cut off at once: calls are refused, what runs is ended, until somebody resumes. Restarts do not matter."""
    asked = {**_whom(agent, team, everybody=everybody, as_json=as_json), "unregistered": unregistered}
    try:
        found = Daemon(directory).post("/v1/agents/suspend", {**asked, "reason": reason})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        console.print(
            f"[green]suspended[/green]: {plain(_meant(found))}, {counted(found['count'], 'registered agent')}"
        )


@app.command(epilog="Example: aam agents resume finance-analyst --reason 'Ticket 4711 is closed'")
def resume(
    agent: Agent = None,
    *,
    reason: Why,
    team: Team = None,
    everybody: Everybody = False,
    directory: Directory = HERE,
    as_json: AsJson = False,
) -> None:
    """Take a suspension back, as it was given: of an agent, a team or all. Exit 1 if somebody is still barred."""
    asked = _whom(agent, team, everybody=everybody, as_json=as_json)
    try:
        found = Daemon(directory).post("/v1/agents/resume", {**asked, "reason": reason})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        console.print(f"[green]resumed[/green]: {counted(len(found['lifted']), 'suspension')} lifted")
        for one in found["still"]:
            problems.print(f"{plain(one['agent'])} may still not call: {plain(_why(one))} [dim]\\[{one['code']}][/dim]")
    raise typer.Exit(PROBLEM if found["barred"] else 0)


@app.command(epilog="Example: aam agents suspensions --json")
def suspensions(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List what operators have suspended and not resumed, the oldest first."""
    try:
        found = Daemon(directory).get("/v1/agents/suspensions")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    rows = ([_meant(one), one["count"], one["since"], one["by"], one["reason"]] for one in found)
    print_table(("suspended", "agents", "since", "by", "reason"), rows, "Nobody is suspended by an operator.")


def _whom(agent: str | None, team: str | None, *, everybody: bool, as_json: bool) -> dict[str, Any]:
    """Return who is meant; end the command as misuse unless that is one agent, one team or all."""
    named = {"agent": agent, "team": team, "all": everybody or None}
    chosen = {name: value for name, value in named.items() if value is not None}
    if len(chosen) != 1:
        stop("Name one agent, or --team NAME, or --all.", as_json=as_json)
    return chosen


def _cell(agent: dict[str, Any], column: str) -> Any:
    match column:
        case "policies":
            return ", ".join(agent[column])
        case "status" if agent["effective"] != "active":
            return f"{agent['effective']}: {_why({**agent, 'document': agent['status']})}"
    return agent[column]


def _why(one: dict[str, Any]) -> str:
    """Say who keeps an agent out: its document, or operators, or both."""
    document = [f"its document says {one['document']}"] if one["document"] != "active" else []
    said = [f"{_meant(said)} suspended by {said['by']}: {said['reason']}" for said in one["suspensions"]]
    return "; ".join(document + said) or "its registration has run out"


def _meant(one: dict[str, Any]) -> str:
    match one["scope"]:
        case "all":
            return "all agents"
        case "team":
            return f"team {one['subject']}"
    return str(one["name"] or one["subject"])
