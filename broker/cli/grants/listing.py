"""`aam grants list`, `show`, `test`, `rotate` and `revoke`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.grants.secrets import read_secret
from broker.cli.output import PROBLEM, AsJson, console, fail, plain, print_json, print_table, problems
from broker.errors import Refusal

GrantName = Annotated[str, typer.Argument(help="The grant's id, or its connector's name.")]


def list_grants(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List the connected accounts; no secret is shown."""
    try:
        found = Daemon(directory).get("/v1/grants")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("connector", "kind", "whose", "status", "scopes", "created", "id")
    shown = ({**grant, "whose": _whose(grant), "scopes": " ".join(grant["scopes"])} for grant in found)
    rows = ([grant[column] for column in columns] for grant in shown)
    print_table(columns, rows, "No account is connected.")


def show(name: GrantName, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Show one grant, and which tools it is good for; no secret is shown."""
    try:
        grant = Daemon(directory).get(f"/v1/grants/{quoted(name)}")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(grant)
        return
    for label in ("id", "connector", "kind", "status", "client_id", "created", "changed"):
        if grant[label]:
            console.print(f"[bold]{label.replace('_', ' ') + ':':<11}[/bold] {plain(grant[label])}")
    console.print(f"[bold]{'whose:':<11}[/bold] {plain(_whose(grant))}")
    console.print(f"[bold]{'scopes:':<11}[/bold] {plain(' '.join(grant['scopes']) or 'not known')}")
    console.print(f"[bold]{'good for:':<11}[/bold] {plain(', '.join(grant['may']) or 'no tool')}")


def rotate(
    name: GrantName,
    secret_file: Annotated[
        Path | None,
        typer.Option(help="The new key, password or client secret; '-' reads it from stdin. Without it: new tokens."),
    ] = None,
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Put a new secret in a grant's place, or have its tokens replaced now; the old ones are used no more."""
    given = None if secret_file is None else read_secret(secret_file, "new secret", as_json=as_json)
    try:
        grant = Daemon(directory).post(f"/v1/grants/{quoted(name)}/rotate", {"secret": given} if given else {})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(grant)
    else:
        console.print(f"[green]rotated[/green]: {plain(grant['connector'])} uses the new one")


def try_grant(name: GrantName, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Make a harmless real call with a grant."""
    try:
        found = Daemon(directory).post(f"/v1/grants/{quoted(name)}/test")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        console.print(f"[green]works[/green]: {plain(found['answer'])}")


def revoke(name: GrantName, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Forget a grant for good, and have its live tokens revoked at the service."""
    try:
        found = Daemon(directory).delete(f"/v1/grants/{quoted(name)}")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    elif found["before"] == "revoked":
        console.print("It was revoked already.")
    else:
        console.print("[green]revoked[/green]: the broker has forgotten it")
        if found["not_revoked_at_service"]:
            problems.print(
                f"A token of it lives at the service until it expires: revoke it there. "
                f"{plain(found['not_revoked_at_service'])}"
            )
    raise typer.Exit(PROBLEM if found["not_revoked_at_service"] else 0)


def _whose(grant: dict[str, Any]) -> str:
    """Say whose it is: a person by the name that their issuer has for them, or the organisation by its user there."""
    if grant["person"]:
        issuer, subject = grant["person"]
        return f"{subject} of {issuer}"
    return grant["subject"] or "the organisation"
