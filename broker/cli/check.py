"""`aam check`."""

import dataclasses

import typer

from broker.cli.daemon import HERE, Documents
from broker.cli.output import PROBLEM, AsJson, console, plain, print_json
from broker.documents import Invalid, Problem, load

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: aam check ./access")
def check(
    directory: Documents = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Check a set of documents: every mistake at once, with file, line, key and the nearest right word."""
    found: list[Problem]
    summary = ""
    try:
        snapshot = load(directory)
        found = list(snapshot.warnings)
        summary = (
            f"{len(snapshot.files)} files: {len(snapshot.registry.agents)} agents, {len(snapshot.connections)} "
            f"connectors, {sum(1 for _ in snapshot.catalog)} tools; digest {snapshot.digest[:12]}"
        )
    except Invalid as invalid:
        found = [*invalid.problems, *invalid.warnings]
    mistakes = [problem for problem in found if problem.severity == "error"]
    if as_json:
        print_json({"ok": not mistakes, "problems": [dataclasses.asdict(problem) for problem in found]})
    else:
        for problem in found:
            colour = "red" if problem.severity == "error" else "yellow"
            where = f"{problem.file}:{problem.line}"
            key = f" [bold]{plain(problem.key)}[/bold]:" if problem.key else ""
            console.print(f"[{colour}]{problem.severity}[/{colour}] {plain(where)}{key} {plain(problem.message)}")
        count = f"{len(mistakes)} mistake{'s' * (len(mistakes) != 1)}"
        console.print(f"[red]{count}[/red]" if mistakes else f"[green]fine[/green]: {plain(summary)}")
    raise typer.Exit(PROBLEM if mistakes else 0)
