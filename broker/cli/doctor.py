"""`aam doctor`."""

from dataclasses import asdict

import typer

from broker.cli.daemon import HERE, Directory, Documents, documents_directory
from broker.cli.examine import examine
from broker.cli.output import PROBLEM, AsJson, console, plain, print_json

app = typer.Typer(pretty_exceptions_enable=False)

_COLOURS = {"fine": "green", "warning": "yellow", "wrong": "red"}


@app.command(epilog="Example: aam doctor ./access")
def doctor(
    context: typer.Context, documents: Documents = None, directory: Directory = HERE, *, as_json: AsJson = False
) -> None:
    """Find what keeps the broker from working: documents, keys, clock, TLS, sockets, store, connectors, grants."""
    findings = list(examine(documents_directory(context, documents, directory)))
    wrong = any(finding.state == "wrong" for finding in findings)
    if as_json:
        print_json({"ok": not wrong, "findings": [asdict(finding) for finding in findings]})
        raise typer.Exit(PROBLEM if wrong else 0)
    for finding in findings:
        colour = _COLOURS[finding.state]
        what = f"[bold]{plain(finding.what):<18}[/bold]"
        console.print(f"[{colour}]{finding.state:<8}[/{colour}] {what} {plain(finding.said)}")
        if finding.mend:
            console.print(f"{'':<28}[dim]mend:[/dim] {plain(finding.mend)}")
    raise typer.Exit(PROBLEM if wrong else 0)
