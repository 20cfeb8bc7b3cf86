"""The table of commands; each command's module is loaded when the command is used."""

import contextlib
import importlib
import io
import os
import sys
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

import broker
from broker.cli.output import PROBLEM, READER_LEFT, plain, problems

# name -> (module, what it does); in the order in which a newcomer needs them
COMMANDS = {
    "demo": ("demo", "See one call end to end: an agent, a service, a refusal, and the trail of it all."),
    "init": ("init", "Write a commented starter set of documents."),
    "check": ("check", "Check a set of documents; needs no network."),
    "serve": ("serve", "Run the broker."),
    "status": ("status", "Show what the running broker is doing."),
    "doctor": ("doctor", "Find what keeps the broker from working, and how to mend it."),
    "stdio": ("stdio", "Relay MCP on stdin and stdout to the broker: what an MCP client starts."),
    "client-config": ("client_config", "Print how an MCP client connects as an agent."),
    "agents": ("agents", "List the registered agents; suspend and resume them."),
    "approvals": ("approvals", "See which calls wait for a person's approval, and decide them."),
    "tools": ("tools", "List the tools that an agent can know of."),
    "models": ("models", "List the models, their prices and how they fare; try what answers for one."),
    "import": ("importing", "Draft documents from what another gateway of models was configured with."),
    "grants": ("grants", "Connect, test, rotate and revoke the accounts that the broker uses."),
    "connectors": ("connectors", "List the connectors: their accounts, and how much of their allowance is used."),
    "keys": ("keys", "Access keys, for clients that can prove themselves in no better way."),
    "vault": ("vault", "Look after the vault: the key that seals every credential."),
    "connector": ("connector", "Fetch and pin what a service says of itself."),
    "documents": ("documents", "See how the documents came to be what they are, and undo a change."),
    "policy": ("policy", "Explain decisions; test, compare and try out policies."),
    "trail": ("trail", "Read, export and verify the trail; erase personal data; legal holds."),
    "dev": ("dev", "Development: mint tokens of the development trust domain."),
}
_NOT_HERE = "stdio"  # broker.cli.main starts it without any of this


class CommandsByName(TyperGroup):
    """Loads a command's module when the command is used; the list of commands loads none."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()}
        self._listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's own signature
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's own signature
        """Return a command, or None."""
        if self._listing or cmd_name not in COMMANDS or cmd_name == _NOT_HERE:
            return self.commands.get(cmd_name)
        command = typer.main.get_command(importlib.import_module(f"broker.cli.{COMMANDS[cmd_name][0]}").app)
        command.name = cmd_name
        # typer offers to install shell completion for each of them, as if it were a program of its own
        command.params = [one for one in command.params if one.name not in {"install_completion", "show_completion"}]
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Whoever stops reading it does not make a 1 of its status, as typer would."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            sys.exit(READER_LEFT)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands from the table."""
        self._listing = True
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=CommandsByName,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Agent Access Manager: agents get tools, never credentials.",
    epilog="Start with: aam demo",
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's own signature
    if wanted:
        typer.echo(f"aam {broker.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Agent Access Manager: agents get tools, never credentials."""


def run() -> None:
    """Run the command line; whoever stops reading our output early, as `head` does, ends it without a word."""
    # a service manager may have started it with them closed
    sys.stdout, sys.stderr = (stream or io.TextIOWrapper(io.BytesIO()) for stream in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no '✓' still gets the sentence
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(READER_LEFT)
    except OSError as error:
        _drop_output()
        problems.print(f"[red]{plain(error.strerror or error)}[/red]: the command could not say all that it had to.")
        sys.exit(PROBLEM)


def _drop_output() -> None:
    """Send what is still to be written nowhere, so that Python's own last flush does not fail too."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
