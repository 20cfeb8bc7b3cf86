"""`aam vault`."""

from typing import Any

import typer
from rich.progress import Progress

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import AsJson, console, counted, fail, plain, print_json, problems
from broker.errors import Refusal

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Look after the vault: the key that seals every credential.",
    epilog="Example: aam vault rotate-key --dir ./access",
)


@app.callback()
def _root() -> None:
    """Look after the vault: the key that seals every credential."""


@app.command("rotate-key", epilog="Example: aam vault rotate-key")
def rotate_key(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Seal everything with a new key, while the broker serves. Run it again to go on after an interruption."""
    try:
        daemon = Daemon(directory)
        with Progress(console=problems, transient=True, disable=not problems.is_terminal) as progress:
            task = progress.add_task("sealing", total=None)
            step: Any = {"done": False}
            while not step["done"]:
                step = daemon.post("/v1/vault/key")
                progress.update(task, completed=step["sealed"], total=max(step["of"], step["sealed"]))
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(step)
        return
    console.print(
        f"[green]rotated[/green]: {counted(step['sealed'], 'value')} sealed with key {plain(step['key_id'])}. "
        f"The old key is kept as {plain(step['retired_key'])}: older backups need it; delete it with the last of them."
    )
