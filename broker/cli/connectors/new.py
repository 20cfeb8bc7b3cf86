"""`aam connector new`: a package with a working connector, to be made one's own."""

import re
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from broker.cli.output import PROBLEM, AsJson, console, plain, print_json, stop

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


@app.command(epilog="Example: aam connector new tasks")
def new(
    name: Annotated[str, typer.Argument(help="What the connector is called: small letters, digits and '_'.")],
    directory: Annotated[
        Path | None, typer.Argument(help="Where to write it; must not be there yet.", show_default="aam-connector-NAME")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Write a package with a working connector and its test; it is found once it is installed."""
    if not _NAME.fullmatch(name):
        stop(f"{name!r} is no name: small letters, digits and '_', 31 at most.", as_json=as_json)
    place = directory or Path(f"aam-connector-{name.replace('_', '-')}")
    if place.exists() or place.is_symlink():
        stop(f"{place} is there already, and is not overwritten; name a new directory.", as_json=as_json)
    try:
        written = write_package(name, place)
    except OSError as error:
        stop(f"The package cannot be written: {error.strerror}.", as_json=as_json, status=PROBLEM)
    if as_json:
        print_json({"directory": str(place), "files": written})
        return
    console.print(f"[green]Written[/green] to {plain(place)}:")
    for file in written:
        console.print(f"  {plain(file)}")
    console.print(f"\nNext:\n  cd {plain(place)}\n  python -m pip install -e .\n  python -m pytest")


def write_package(name: str, place: Path) -> list[str]:
    """Write the package, whole or not at all; return the names of its files. Raises `OSError`."""
    module, dashed = f"aam_connector_{name}", name.replace("_", "-")
    where = {"connector.py": f"{module}.py", "test_connector.py": "tests/test_connector.py"}
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".aam-connector-", dir=place.parent))
    try:
        written = []
        for template in files("broker.testing").joinpath("template").iterdir():
            if not template.name.endswith(".tmpl"):
                continue
            plain_name = template.name.removesuffix(".tmpl")
            file = where.get(plain_name, plain_name)
            text = Template(template.read_text()).substitute(name=name, module=module, dashed=dashed)
            (scratch / file).parent.mkdir(exist_ok=True)
            (scratch / file).write_text(text)
            written.append(file)
        scratch.chmod(0o755)
        scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return sorted(written)
