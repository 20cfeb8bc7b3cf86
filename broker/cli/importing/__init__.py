"""`aam import`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.importing import litellm, openrouter
from broker.cli.importing.drafts import Draft
from broker.cli.importing.reading import NotReadable, values_of
from broker.cli.importing.yaml import as_yaml
from broker.cli.output import PROBLEM, AsJson, console, counted, plain, print_json, problems, stop
from broker.cli.trail.writing import refuse_to_replace

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Draft documents from what another gateway of models was configured with.",
    epilog="Example: aam import litellm config.yaml --to drafts",
)

Files = Annotated[list[Path], typer.Argument(help="The files; JSON, lines of JSON, or YAML.")]
To = Annotated[Path | None, typer.Option(help="A directory for the documents; without it, they are printed.")]
Force = Annotated[bool, typer.Option("--force", help="Replace documents that are there already.")]
TrustDomain = Annotated[str, typer.Option(help="The trust domain of the agents that are drafted.")]


@app.callback()
def _group() -> None:
    """Draft documents from what another gateway of models was configured with."""


@app.command("openrouter", epilog="Example: aam import openrouter request.json --to drafts")
def from_openrouter(
    files: Files,
    to: To = None,
    trust_domain: TrustDomain = "prod",
    *,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Read requests to OpenRouter as they are sent; draft routes, an agent and its policy, which only observes."""
    _run(files, to, Draft(trust_domain), openrouter.read, force=force, as_json=as_json)


@app.command("litellm", epilog="Example: aam import litellm config.yaml keys.json --to drafts")
def from_litellm(
    files: Files,
    to: To = None,
    trust_domain: TrustDomain = "prod",
    *,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Read LiteLLM's configuration, and keys as /key/list gives them; draft routes, agents and observing policies."""
    _run(files, to, Draft(trust_domain), litellm.read, force=force, as_json=as_json)


def _run(
    files: list[Path],
    to: Path | None,
    draft: Draft,
    read: Callable[[Draft, Any, str], None],
    *,
    force: bool,
    as_json: bool,
) -> None:
    for file in files:
        try:
            for value in values_of(file):
                read(draft, value, file.name)
        except NotReadable as error:
            stop(f"{file}: {error}", as_json=as_json)
    draft.finish()
    if to is not None:
        _write(draft, to, force=force, as_json=as_json)
    if as_json:
        print_json({"documents": draft.documents, "not_mapped": draft.not_mapped, "next": draft.steps})
    else:
        _tell(draft, to)
    raise typer.Exit(0 if draft.documents else PROBLEM)


def _write(draft: Draft, to: Path, *, force: bool, as_json: bool) -> None:
    """Write each kind of document into a file of its own; all of them, or none where one is in the way."""
    texts = {to / name: as_yaml(documents) for name, documents in draft.files().items()}
    try:
        to.mkdir(parents=True, exist_ok=True)
        for path in texts:
            refuse_to_replace(path, force=force, as_json=as_json)
        for path, text in texts.items():
            path.write_text(text)
    except OSError as error:
        stop(f"The documents cannot be written: {error.strerror or error}.", as_json=as_json)


def _tell(draft: Draft, to: Path | None) -> None:
    if to is None:
        for documents in draft.files().values():
            console.print(plain(as_yaml(documents)).rstrip())
            console.print("---")
    problems.print(
        f"[green]drafted[/green] {counted(len(draft.documents), 'document')}" + (f" in {plain(to)}" if to else "")
    )
    for place, why in draft.not_mapped:
        problems.print(f"[yellow]not mapped[/yellow] {plain(place)}: {plain(why)}")
    for step in draft.steps:
        problems.print(f"[dim]next:[/dim] {plain(step)}")
