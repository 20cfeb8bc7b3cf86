"""`aam init`."""

import json
import os
import pwd
import shlex
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from broker.cli.output import AsJson, console, plain, print_json, stop
from broker.testing.trust_domain import DevelopmentTrustDomain
from broker.vault import create_key

app = typer.Typer(pretty_exceptions_enable=False)

DEVELOPMENT_KEY = Path("secrets/development-prod.jwk")


@app.command(epilog="Example: aam init ./access")
def init(
    directory: Annotated[Path, typer.Argument(help="Where to write it; must be new or empty.")],
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where agents connect by HTTP.")] = 8470,
    as_json: AsJson = False,
) -> None:
    """Write a commented starter set: a broker, an agent, its policy, a connector, a development trust domain, keys."""
    try:
        if directory.exists() and any(directory.iterdir()):
            stop(f"{directory} is not empty; name a new directory.", as_json=as_json)
        written = write_starter(directory, port)
    except OSError as error:
        stop(f"The starter set cannot be written: {error}.", as_json=as_json)
    if as_json:
        print_json({"directory": str(directory), "files": written})
        return
    place = shlex.quote(str(directory))
    console.print(f"[green]Written[/green] to {plain(directory)}:")
    for name in written:
        console.print(f"  {plain(name)}")
    console.print(
        f"\nNext:\n  aam check {plain(place)}\n  aam serve {plain(place)} --development\n"
        f"  aam client-config finance-analyst --dir {plain(place)}"
    )


def write_starter(directory: Path, port: int) -> list[str]:
    """Write the starter set and its keys; return the names of the files."""
    values = {"user": _user(), "uid": str(os.getuid()), "port": str(port)}
    written = []
    for name, template in _templates(files("broker") / "starter"):
        text = template.read_text()
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(values) if name.endswith(".yaml") else text)
        written.append(name)
    create_key("file", str(directory / "secrets/vault.key"))
    domain = DevelopmentTrustDomain.new("prod")
    domain.write(directory / DEVELOPMENT_KEY)
    (directory / "trust-bundle.json").write_text(json.dumps(domain.bundle(), indent=2) + "\n")
    return sorted([*written, "secrets/vault.key", str(DEVELOPMENT_KEY), "trust-bundle.json"])


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, often
        return str(os.getuid())


def _templates(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _templates(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith((".yaml", ".json")):
            found.append((prefix + entry.name, entry))
    return sorted(found, key=lambda pair: pair[0])
