"""The commands: `aam`. Each is loaded by name, so that the relay and small commands stay small."""

import importlib
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

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
    "agents": ("agents", "List the registered agents."),
    "tools": ("tools", "List the tools that an agent can know of."),
    "grants": ("grants", "Connect, test and revoke the accounts that the broker uses."),
    "connector": ("connector", "Fetch and pin what a service says of itself."),
    "trail": ("trail", "Read, export and verify the trail."),
    "dev": ("dev", "Development: mint tokens of the development trust domain."),
}


class CommandsByName(TyperGroup):
    """Loads a command's module when the command is used; the list of commands loads none."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's own signature
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's own signature
        """Return a command, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, summary = COMMANDS[cmd_name]
        if self._listing:
            return TyperCommand(cmd_name, help=summary)
        command = typer.main.get_command(importlib.import_module(f"broker.cli.{module}").app)
        command.name = cmd_name
        return command

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


@app.callback()
def _root() -> None:
    """Agent Access Manager: agents get tools, never credentials."""


def main() -> None:
    """Run the command line."""
    app()
