"""`aam grants`."""

import contextlib
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import PROBLEM, AsJson, console, fail, plain, print_json, print_table, problems, stop
from broker.errors import Refusal

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Connect, test and revoke the accounts that the broker uses.",
    epilog="Example: aam grants list --dir ./access",
)

_LONGEST_KEY = 100_000  # characters

Connector = Annotated[str, typer.Argument(help="The connector's name, as in its document.")]
GrantName = Annotated[str, typer.Argument(help="The grant's id, or its connector's name.")]


@app.command(
    epilog="Example: aam grants add salesforce --client-id 3MVG9… --subject broker@example.com --key-file app.pem"
)
def add(
    connector: Connector,
    client_id: Annotated[str, typer.Option(help="The consumer key of the app at the service.")],
    subject: Annotated[str, typer.Option(help="The user as whom the broker acts.")],
    key_file: Annotated[
        Path | None, typer.Option(help="The app's RSA private key (PEM); '-' reads it from stdin.")
    ] = None,
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Connect an account by JWT bearer (RFC 7523). The key is sealed in the vault and never comes out."""
    key = _read_key(key_file, as_json=as_json)
    try:
        grant = Daemon(directory).post(
            "/v1/grants",
            {"connector": connector, "client_id": client_id, "subject": subject, "private_key": key},
        )
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(grant)
    else:
        console.print(
            f"[green]Connected[/green] {plain(connector)} as {plain(subject)}. "
            f"Try it: aam grants test {plain(connector)}"
        )


@app.command("list", epilog="Example: aam grants list --json")
def list_grants(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List the connected accounts; no secret is shown."""
    try:
        found = Daemon(directory).get("/v1/grants")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("connector", "kind", "subject", "status", "created", "id")
    print_table(columns, ([grant[key] for key in columns] for grant in found), "No account is connected.")


@app.command("test", epilog="Example: aam grants test salesforce")
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


@app.command(epilog="Example: aam grants revoke salesforce")
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


def _read_key(key_file: Path | None, *, as_json: bool) -> str:
    """Read the key from a file, stdin or a prompt: never from the command line, where others can see it."""
    try:
        if key_file is not None and str(key_file) != "-":
            with key_file.open() as file:
                key = file.read(_LONGEST_KEY)
        elif sys.stdin.isatty():
            with _unseen():
                problems.print("Paste the private key (PEM; it is not shown), then press Enter and Ctrl-D:")
                key = sys.stdin.read(_LONGEST_KEY)
        else:
            key = sys.stdin.read(_LONGEST_KEY)
    except OSError as error:
        stop(f"The key file {key_file} cannot be read: {error.strerror}.", as_json=as_json)
    except UnicodeDecodeError:
        stop("The key is not in PEM form, which is text.", as_json=as_json)
    if not key.strip():
        stop("There is no key: name a file with --key-file, or give it on stdin.", as_json=as_json)
    return key


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    """Keep the terminal from showing what is typed."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    silent = [*before]
    silent[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
