"""`aam keys`."""

from typing import Annotated

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import AsJson, console, fail, plain, print_json, print_table, problems
from broker.errors import Refusal

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Access keys, for clients that can prove themselves in no better way.",
    epilog="Example: aam keys add finance-analyst --days 30 --label 'notebook of Jane'",
)


@app.command(epilog="Example: aam keys add finance-analyst --days 30 --label 'notebook of Jane'")
def add(
    agent: Annotated[str, typer.Argument(help="The agent's name, or its workload: spiffe://…")],
    days: Annotated[int, typer.Option(min=1, max=365, help="For how many days it is good.")] = 90,
    label: Annotated[str, typer.Option(help="What it is for; it stands in the trail.")] = "",
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Issue a key that stands for one agent. It is shown now and never again: only its hash is kept."""
    try:
        found = Daemon(directory).post("/v1/keys", {"agent": agent, "days": days, "label": label})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    problems.print(
        f"This key is {plain(found['agent'])} until {plain(found['expires'])}. It is shown once; whoever has it is the "
        "agent, so an SVID or a token of an issuer is better where there is one."
    )
    console.print(plain(found["key"]))
    problems.print(f"Send it as 'Authorization: Bearer …'. Revoke it: aam keys revoke {plain(found['id'])} --reason …")


@app.command("list", epilog="Example: aam keys list --json")
def list_keys(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List the keys by their ids, with which each begins; also those that are over."""
    try:
        found = Daemon(directory).get("/v1/keys")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("id", "agent", "status", "expires", "created", "created_by", "label")
    print_table(columns, ([key[column] for column in columns] for key in found), "There is no access key.")


@app.command(epilog="Example: aam keys revoke aamk_k3w7x2mq5tna --reason 'Ticket 4711'")
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id: its part before the last '_'.")],
    reason: Annotated[str, typer.Option(help="Why. It stands in the trail for good.")],
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """End a key for good, at once."""
    try:
        found = Daemon(directory).post(f"/v1/keys/{quoted(key)}/revoke", {"reason": reason})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        console.print(f"[green]revoked[/green]: {plain(found['id'])} proves nothing any more")
