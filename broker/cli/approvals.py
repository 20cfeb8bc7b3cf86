"""`aam approvals`: what agents wait for, and what people decide."""

from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import AsJson, as_json_text, console, fail, plain, print_json, print_table
from broker.errors import Refusal

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="See which calls wait for a person's approval, and decide them.",
    epilog="Example: aam approvals list --dir ./access",
)

Id = Annotated[str, typer.Argument(help="The request's id, as the agent was told it.")]
Why = Annotated[str, typer.Option("--reason", help="Why. It stands in the trail for good: name no person in it.")]
_ENDED = {"approved": "may make this call, once", "refused": "may not make this call"}


@app.command("list", epilog="Example: aam approvals list --all --json")
def list_approvals(
    directory: Directory = HERE,
    *,
    every: Annotated[bool, typer.Option("--all", help="Also what has been decided or has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the requests that wait, the newest first."""
    try:
        found = Daemon(directory).get("/v1/approvals", **({"all": "1"} if every else {}))
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("id", "agent", "tool", "status", "created", "expires", "decided_by", "reason")
    print_table(columns, ([one[column] for column in columns] for one in found), "Nothing waits for approval.")


@app.command(epilog="Example: aam approvals show 0197a2c4-5d6e-7f80-9a1b-2c3d4e5f6071")
def show(approval: Id, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Show a request with its exact arguments and its effect, to those who may decide it; on record."""
    try:
        found = Daemon(directory).get(f"/v1/approvals/{quoted(approval)}")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    for name, value in _rows(found).items():
        console.print(f"[bold]{name + ':':<14}[/bold] {plain(value)}")
    if found["asked"] is not None:
        console.print("[bold]arguments:[/bold]")
        console.print(as_json_text(found["asked"]["arguments"]), markup=False)


@app.command(epilog="Example: aam approvals approve 0197a2c4-5d6e-7f80-9a1b-2c3d4e5f6071 --reason 'As agreed'")
def approve(approval: Id, *, reason: Why, directory: Directory = HERE, as_json: AsJson = False) -> None:
    """Approve: the agent may make exactly this call, once, until the approval expires."""
    _decide("approve", approval, reason, directory, as_json=as_json)


@app.command(epilog="Example: aam approvals refuse 0197a2c4-5d6e-7f80-9a1b-2c3d4e5f6071 --reason 'Not this month'")
def refuse(approval: Id, *, reason: Why, directory: Directory = HERE, as_json: AsJson = False) -> None:
    """Refuse, for good: the same call is refused until the request would have expired."""
    _decide("refuse", approval, reason, directory, as_json=as_json)


def _decide(verb: str, approval: str, reason: str, directory: Directory, *, as_json: bool) -> None:
    try:
        found = Daemon(directory).post(f"/v1/approvals/{quoted(approval)}/{verb}", {"reason": reason})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        console.print(
            f"[green]{found['status']}[/green]: {plain(found['agent'])} {_ENDED[found['status']]}, "
            f"until {plain(found['expires'])}"
        )


def _rows(found: dict[str, Any]) -> dict[str, Any]:
    effect, asked = found["effect"] or {}, found["asked"] or {}
    kind = "reads only" if effect.get("reads_only") else "may change something"
    behalf = asked.get("on_behalf_of") or {}
    rows = {
        "request": f"{found['id']}, {found['status']}, until {found['expires']}",
        "agent": f"{found['agent']} ({found['workload']}), owner {found['owner']}",
        "on behalf of": behalf.get("sub"),
        "call": f"{found['tool']}: {found['action']} on {found['resource']}",
        "effect": f"{effect['description']} ({kind}, at {effect['service']})" if effect else None,
        "fields": ", ".join(asked["fields"]) if asked.get("fields") is not None else None,
        "records": asked.get("records"),
        "filters": "; ".join(" ".join(map(str, one)) for one in asked.get("filters", ())) or None,
        "rules": ", ".join(f"{rule['policy']} {rule['place']}" for rule in asked.get("rules", ())) or None,
        "decided by": found["decided_by"],
        "reason": found["reason"],
        "used by call": found["consumed_by"],
    }
    return {name: value for name, value in rows.items() if value is not None}
