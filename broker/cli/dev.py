"""`aam dev`."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.daemon import HERE, Directory
from broker.cli.init import DEVELOPMENT_KEY
from broker.cli.output import MISUSE, AsJson, fail, plain, print_json, problems
from broker.documents import Invalid, Snapshot, load
from broker.documents.parse import nearest
from broker.identity import Agent
from broker.testing.trust_domain import DevelopmentTrustDomain

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Development: mint tokens of the development trust domain.",
    epilog="Example: aam dev token finance-analyst",
)


@app.callback()
def _group() -> None:
    """Mint tokens of the development trust domain."""


@app.command(epilog="Example: aam dev token finance-analyst --write token.jwt --renew")
def token(
    agent: Annotated[str, typer.Argument(help="The agent, by name or workload.")],
    directory: Directory = HERE,
    *,
    seconds: Annotated[int, typer.Option(min=5, max=3600, help="How long it lives.")] = 300,
    write: Annotated[Path | None, typer.Option(help="Write it to a file that only its owner can read.")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Keep the file fresh until stopped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mint a short-lived JWT-SVID of the development trust domain for a registered agent."""
    if renew and write is None:
        problems.print("[red]--renew needs --write FILE.[/red]")
        raise typer.Exit(MISUSE)
    try:
        snapshot = load(directory)
    except Invalid as invalid:
        fail(invalid, as_json=as_json)
    found = find_agent(snapshot, agent)
    domain = _domain(snapshot, found, directory)
    while True:
        minted = domain.mint(found.workload, snapshot.broker.audience, seconds=seconds)
        if write is None:
            print_json({"token": minted, "expires_in": seconds}) if as_json else typer.echo(minted)
            return
        _write(write, minted)
        if not renew:
            return
        try:
            time.sleep(seconds / 2)
        except KeyboardInterrupt:
            return


def find_agent(snapshot: Snapshot, name: str) -> Agent:
    """Return a registered agent by name or workload, or end the command."""
    agents = snapshot.registry.agents.values()
    for agent in agents:
        if name in {agent.name, agent.workload}:
            return agent
    hint = nearest(name, [agent.name for agent in agents])
    problems.print(f"[red]There is no agent {plain(repr(name))}{plain(hint)}[/red]")
    raise typer.Exit(MISUSE)


def _domain(snapshot: Snapshot, agent: Agent, directory: Path) -> DevelopmentTrustDomain:
    name = agent.workload.removeprefix("spiffe://").partition("/")[0]
    if not snapshot.trust_domains[name].development:
        problems.print(f"[red]Trust domain {plain(name)} is not for development: its issuer mints its tokens.[/red]")
        raise typer.Exit(MISUSE)
    key_file = directory / DEVELOPMENT_KEY.with_name(f"development-{name}.jwk")
    try:
        return DevelopmentTrustDomain.read(name, key_file)
    except (OSError, ValueError) as error:
        problems.print(f"[red]The key of trust domain {plain(name)} cannot be read:[/red] {plain(error)}")
        raise typer.Exit(MISUSE) from None


def _write(path: Path, text: str) -> None:
    """Replace the file whole, so that whoever reads it meanwhile reads the old token or the new one."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    temporary.replace(path)
