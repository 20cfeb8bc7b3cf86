"""`aam connector test`."""

import typer

from broker.cli.connectors.show import ConnectorName
from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import PROBLEM, AsJson, console, fail, plain, print_json
from broker.errors import Refusal


def try_connector(name: ConnectorName, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Make a harmless real call with the organisation's account: say what failed, and what to do; exit 1 then."""
    try:
        found = Daemon(directory).post(f"/v1/connectors/{quoted(name)}/test")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    failed = found["failed"]
    if as_json:
        print_json(found)
    else:
        for step in found["passed"]:
            console.print(f"[green]✓[/green] {step}")
        if failed is None:
            console.print(f"[green]works[/green]: {plain(found['answer'])}")
        else:
            console.print(f"[red]✗ {failed['at']}[/red]: {plain(failed['message'])} [dim]\\[{failed['code']}][/dim]")
            if failed["detail"]:
                console.print(f"  [dim]{plain(failed['detail'])}[/dim]")
            console.print(f"  {plain(failed['do'])}")
    raise typer.Exit(0 if failed is None else PROBLEM)
