"""`aam check`."""

import dataclasses

import typer

from broker.cli.daemon import HERE, Directory, Documents, documents_directory
from broker.cli.output import PROBLEM, AsJson, console, counted, counted_tools, plain, print_json
from broker.documents import Invalid, Problem, load

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: aam check ./access")
def check(
    context: typer.Context,
    documents: Documents = None,
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Check a set of documents: every mistake at once, with file, line, key and the nearest right word."""
    found: list[Problem]
    summary = ""
    try:
        snapshot = load(documents_directory(context, documents, directory))
        found = list(snapshot.warnings)
        summary = (
            f"{counted(len(snapshot.files), 'file')}: {counted(len(snapshot.registry.agents), 'agent')}, "
            f"{counted(len(snapshot.connections), 'connector')}, {counted_tools(snapshot.catalog)}; "
            f"digest {snapshot.digest[:12]}"
        )
    except Invalid as invalid:
        found = [*invalid.problems, *invalid.warnings]
    mistakes = [problem for problem in found if problem.severity == "error"]
    if as_json:
        print_json({"ok": not mistakes, "problems": [dataclasses.asdict(problem) for problem in found]})
    else:
        for problem in found:
            word, colour = ("mistake", "red") if problem.severity == "error" else ("warning", "yellow")
            where = f"{problem.file}:{problem.line}"
            key = f" [bold]{plain(problem.key)}[/bold]:" if problem.key else ""
            console.print(f"[{colour}]{word}[/{colour}] {plain(where)}{key} {plain(problem.message)}")
        count = counted(len(mistakes), "mistake")
        console.print(f"[red]{count}[/red]" if mistakes else f"[green]fine[/green]: {plain(summary)}")
    raise typer.Exit(PROBLEM if mistakes else 0)
