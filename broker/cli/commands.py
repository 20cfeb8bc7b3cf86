"""The table of commands; each command's module is loaded when the command is used."""

import contextlib
import io
import os
import sys
from typing import Annotated, Any

import typer

import broker
from broker.cli.by_name import ByName
from broker.cli.output import PROBLEM, READER_LEFT, plain, problems

# name -> (module, what it does); in the order in which a newcomer needs them
COMMANDS = {
    "demo": ("demo", "See one call end to end: an agent, a service, a refusal, and the trail of it all."),
    "init": ("init", "Write a commented starter set of documents."),
    "check": ("check", "Check a set of documents; needs no network."),
    "serve": ("serve", "Run the broker."),
    "status": ("status", "Show what the running broker is doing."),
    "metrics": ("metrics", "Print what a monitoring system watches: calls, money, store, services."),
    "doctor": ("doctor", "Find what keeps the broker from working, and how to mend it."),
    "stdio": ("stdio", "Relay MCP on stdin and stdout to the broker: what an MCP client starts."),
    "client-config": ("client_config", "Print how an MCP client connects as an agent."),
    "agents": ("agents", "List the registered agents; suspend and resume them."),
    "approvals": ("approvals", "See which calls wait for a person's approval, and decide them."),
    "budget": ("budget", "Show what may be spent on models, and what is; raise a budget for a time."),
    "spend": ("spend", "Sum up what models have cost: by agent, team, model, provider and day."),
    "tools": ("tools", "List the tools that an agent can know of."),
    "models": ("models", "List the models, their prices and how they fare; try what answers for one."),
    "import": ("importing", "Draft documents from what another gateway of models was configured with."),
    "grants": ("grants", "Connect, test, rotate and revoke the accounts that the broker uses."),
    "connectors": ("connectors", "List the connectors: their accounts, and how much of their allowance is used."),
    "keys": ("keys", "Access keys, for clients that can prove themselves in no better way."),
    "vault": ("vault", "Look after the vault: the key that seals every credential."),
    "connector": ("connector", "Add, show, test and remove connectors; fetch and pin what a service says of itself."),
    "documents": ("documents", "See how the documents came to be what they are, and undo a change."),
    "policy": ("policy", "Explain decisions; test, compare and try out policies."),
    "trail": ("trail", "Read, export and verify the trail; erase personal data; legal holds."),
    "dev": ("dev", "Development: mint tokens of the development trust domain."),
}


class CommandsByName(ByName):
    """The commands of `aam`."""

    table = {name: (f"broker.cli.{module}", summary) for name, (module, summary) in COMMANDS.items()}  # noqa: RUF012
    elsewhere = frozenset({"stdio"})  # broker.cli.main starts it without any of this

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Whoever stops reading it does not make a 1 of its status, as typer would."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            sys.exit(READER_LEFT)


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
