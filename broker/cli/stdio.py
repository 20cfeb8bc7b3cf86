"""`aam stdio`."""

from pathlib import Path
from typing import Annotated

import typer

from broker.doors.stdio import relay

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: aam stdio --socket ./access/run/agents.sock --agent finance-analyst")
def stdio(
    socket: Annotated[Path, typer.Option(envvar="AAM_AGENTS_SOCKET", help="The broker's socket for agents.")] = Path(
        "run/agents.sock"
    ),
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="AAM_TOKEN_FILE", help="A JWT-SVID that a helper renews; read for each message."),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(envvar="AAM_AGENT", help="Which agent this process is, where several share its user."),
    ] = None,
) -> None:
    """Relay MCP on stdin and stdout to the broker. Without a token file, the process itself is the proof."""
    raise typer.Exit(relay(str(socket), str(token_file) if token_file else None, agent))
