"""`aam client-config`."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.daemon import HERE, Directory, agents_socket
from broker.cli.dev import find_agent
from broker.cli.output import AsJson, console, fail, plain, print_json, problems, stop
from broker.documents import Invalid, Snapshot, load
from broker.identity import Agent

app = typer.Typer(pretty_exceptions_enable=False)


@app.command("client-config", epilog="Example: aam client-config finance-analyst --dir ./access")
def client_config(
    agent: Annotated[str, typer.Argument(help="The agent, by name or workload.")],
    directory: Directory = HERE,
    *,
    token_file: Annotated[
        Path | None, typer.Option(help="Prove the agent by a token file that a helper renews, not by the process.")
    ] = None,
    login: Annotated[
        bool, typer.Option("--login", help="By HTTP, with a person who logs in: for clients that speak OAuth.")
    ] = False,
    workload_api: Annotated[
        str | None,
        typer.Option(help="Prove the agent by tokens of the Workload API, for example unix:///run/spire/agent.sock."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print how common MCP clients connect as an agent, by the relay: no secret is in it, so it works tomorrow too."""
    try:
        snapshot = load(directory)
    except Invalid as invalid:
        fail(invalid, as_json=as_json)
    found = find_agent(snapshot, agent, as_json=as_json)
    if login:
        _print_login(snapshot, found, as_json=as_json)
        return
    command = [aam(), *relay_arguments(directory, found.name, token_file)]
    if workload_api is not None:
        if token_file is not None:
            stop("--token-file and --workload-api are two proofs; give one.", as_json=as_json)
        command = [aam(), *fetching_arguments(directory, found.workload, workload_api, snapshot.broker.audience)]
    if as_json:
        print_json(mcp_servers(command))
        return
    if token_file is None and workload_api is None and not found.selectors:
        problems.print(
            f"[yellow]{plain(found.name)} has no selectors, so no local process can be it without a token.[/yellow] "
            "Give it selectors, or use --token-file."
        )
    console.print("[dim]# Claude Desktop, Cursor, Windsurf and others (mcpServers):[/dim]")
    print_json(mcp_servers(command))
    console.print("\n[dim]# VS Code (.vscode/mcp.json):[/dim]")
    print_json({"servers": {"enterprise": {"type": "stdio", "command": command[0], "args": command[1:]}}})
    console.print("\n[dim]# Claude Code:[/dim]")
    console.print(f"claude mcp add enterprise -- {plain(shlex.join(command))}")
    if token_file is not None:
        helper = [aam(), "dev", "token", found.name, "--dir", str(directory.absolute())]
        renewing = shlex.join([*helper, "--write", str(token_file.absolute()), "--renew"])
        console.print("\n[dim]# Keep the token fresh (in production: spiffe-helper, or what is mounted):[/dim]")
        console.print(plain(renewing))


def _print_login(snapshot: Snapshot, agent: Agent, *, as_json: bool) -> None:
    """Print how clients connect at which a person logs in; each is known to its issuer by the id of a rule."""
    clients = [
        (issuer, rule.client)
        for issuer in snapshot.issuers.values()
        for rule in issuer.rules
        if rule.workload == agent.workload and rule.client is not None
    ]
    if not clients:
        stop(
            f"No Issuer document has a rule with 'agent: {agent.name}' and a client: nobody can log in for it.",
            as_json=as_json,
        )
    url = snapshot.broker.audience
    configurations = [mcp_servers(["npx", "-y", "mcp-remote", url, *_static(client)]) for _, client in clients]
    if as_json:
        print_json(configurations[0] if len(configurations) == 1 else configurations)
        return
    for (issuer, client), configuration in zip(clients, configurations, strict=True):
        console.print(f"[dim]# People log in at {plain(issuer.issuer)}, with the client {plain(client)}:[/dim]")
        print_json(configuration)


def _static(client: str) -> list[str]:
    return ["--static-oauth-client-info", json.dumps({"client_id": client})]


def relay_arguments(directory: Path, agent: str, token_file: Path | None) -> list[str]:
    """Return the relay's arguments after the command itself."""
    proof = ["--agent", agent] if token_file is None else ["--token-file", str(token_file.absolute())]
    return ["stdio", "--socket", str(agents_socket(directory)), *proof]


def fetching_arguments(directory: Path, workload: str, workload_api: str, audience: str) -> list[str]:
    """Return the arguments of a relay that fetches its tokens from the Workload API."""
    asked = ["--audience", audience, "--workload-api", workload_api, "--agent", workload]
    return ["stdio", "--socket", str(agents_socket(directory)), *asked]


def mcp_servers(command: list[str]) -> dict[str, object]:
    """Return the configuration that most clients read."""
    return {"mcpServers": {"enterprise": {"command": command[0], "args": command[1:]}}}


def aam() -> str:
    """Return how to start this program from anywhere."""
    beside = Path(sys.executable).with_name("aam")
    return str(beside) if beside.exists() else shutil.which("aam") or "aam"
