"""`aam dev`."""

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from broker.cli.daemon import HERE, Directory
from broker.cli.init import DEVELOPMENT_KEY
from broker.cli.output import PROBLEM, AsJson, fail, is_taken, plain, print_json, problems, stop
from broker.documents import Invalid, Snapshot, load
from broker.documents.words import nearest
from broker.identity import Agent, SpiffeId
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
        stop("--renew needs --write FILE.", as_json=as_json)
    try:
        snapshot = load(directory)
    except Invalid as invalid:
        fail(invalid, as_json=as_json)
    found = find_agent(snapshot, agent, as_json=as_json)
    domain = _domain(snapshot, found, directory, as_json=as_json)
    minted = domain.mint(found.workload, snapshot.broker.audience, seconds=seconds)
    if write is None:
        print_json({"token": minted, "expires_in": seconds}) if as_json else typer.echo(minted)
        return
    _write(write, minted, as_json=as_json)
    if as_json:
        print_json({"file": str(write.absolute()), "expires_in": seconds})
    else:
        problems.print(f"A token of {seconds} seconds is in {plain(write)}{'; it is kept fresh' if renew else ''}.")
    if renew:
        _keep_fresh(domain, found, snapshot.broker.audience, seconds, write)


def find_agent(snapshot: Snapshot, name: str, *, as_json: bool) -> Agent:
    """Return a registered agent by name or workload, or end the command."""
    agents = snapshot.registry.agents.values()
    found = next((agent for agent in agents if name in {agent.name, agent.workload}), None)
    if found is None:
        stop(f"There is no agent {name!r}{nearest(name, [agent.name for agent in agents])}", as_json=as_json)
    return found


def _domain(snapshot: Snapshot, agent: Agent, directory: Path, *, as_json: bool) -> DevelopmentTrustDomain:
    name = SpiffeId.parse(agent.workload).trust_domain
    if not snapshot.trust_domains[name].development:
        stop(f"Trust domain {name} is not for development: its issuer mints its tokens.", as_json=as_json)
    key_file = directory / DEVELOPMENT_KEY.with_name(f"development-{name}.jwk")
    try:
        return DevelopmentTrustDomain.read(name, key_file)
    except OSError as error:
        stop(f"The key of trust domain {name} cannot be read: {key_file}: {error.strerror}.", as_json=as_json)
    except ValueError as error:
        stop(f"The key of trust domain {name} cannot be read: {key_file} is {error}.", as_json=as_json)


def _keep_fresh(domain: DevelopmentTrustDomain, agent: Agent, audience: str, seconds: int, file: Path) -> NoReturn:
    """Replace the token when half of its life is over, until somebody stops it."""
    try:
        while True:
            time.sleep(seconds / 2)
            _write(file, domain.mint(agent.workload, audience, seconds=seconds), as_json=False)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _write(path: Path, text: str, *, as_json: bool) -> None:
    """Replace the file whole, so that whoever reads it meanwhile reads the old token or the new one."""
    try:
        if is_taken(path):
            stop(f"The token cannot be written to {path}: it is there and is no regular file.", as_json=as_json)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # for its owner only
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
        Path(temporary).replace(path)
    except OSError as error:
        stop(f"The token cannot be written to {path}: {error.strerror}.", as_json=as_json, status=PROBLEM)
