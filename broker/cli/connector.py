"""`aam connector`."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.by_name import ByName
from broker.cli.connectors import connectors
from broker.cli.connectors.show import show
from broker.cli.connectors.trying import try_connector
from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import PROBLEM, AsJson, console, fail, plain, print_json, stop
from broker.errors import Refusal


class _Commands(ByName):
    table = {  # noqa: RUF012 - those that load the documents and the connectors
        "add": ("broker.cli.connectors.add", "Connect another service: write its Connector document, checked."),
        "new": ("broker.cli.connectors.new", "Write a package with a working connector of your own, and its test."),
        "remove": ("broker.cli.connectors.remove", "Take a connector away, with a way back."),
    }


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Add, show, test and remove connectors; fetch and pin what a service says of itself.",
    epilog="Example: aam connector add",
)
app.command("list", epilog="Example: aam connector list --dir ./access")(connectors)
app.command("show", epilog="Example: aam connector show salesforce")(show)
app.command("test", epilog="Example: aam connector test salesforce")(try_connector)


@app.callback()
def _group() -> None:
    """Add, show, test and remove connectors; fetch and pin what a service says of itself."""


@app.command(epilog="Example: aam connector snapshot salesforce --approve")
def snapshot(
    name: Annotated[str, typer.Argument(help="The connector's name, as in its document.")],
    directory: Directory = HERE,
    *,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="A description that you have, JSON or YAML, instead of fetching it."
        ),
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Pin what was fetched without asking.")] = False,
    only: Annotated[
        str | None, typer.Option(metavar="SHA256", help="With --approve: pin nothing but this, as --json named it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a service's description through its own grant, show what would change, and pin it on approval."""
    described = None if source is None else _read(source, as_json=as_json)
    _pin(name, directory, described, approved=approve, only=only, as_json=as_json, how="--approve pins it")


@app.command("approve", epilog="Example: aam connector approve tickets")
def approve_definitions(
    name: Annotated[str, typer.Argument(help="The connector's name, as in its document.")],
    directory: Directory = HERE,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Pin what was fetched without asking.")] = False,
    only: Annotated[
        str | None, typer.Option(metavar="SHA256", help="With --yes: pin nothing but this, as --json named it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how an MCP server describes its tools now, against what was approved, and approve it.

    Until then, tools that it describes otherwise are refused, and agents are told what was approved before.
    """
    _pin(name, directory, None, approved=yes, only=only, as_json=as_json, how="--yes approves it")


def _pin(
    name: str,
    directory: Path,
    described: bytes | None,
    *,
    approved: bool,
    only: str | None,
    as_json: bool,
    how: str,
) -> None:
    """Fetch what is to be pinned, show the difference, and pin it if that is wanted; exits with 1 if it is not."""
    try:
        daemon = Daemon(directory)
        path = f"/v1/connectors/{quoted(name)}/snapshot"
        with console.status("reading the description" if described else "asking the service"):
            found = daemon.post(path, described)
        changes = list(differences(found["pinned"] or {}, found["fetched"]))
        pinned = False
        if not as_json:
            _show(changes, found["sha256"])
        if only is not None and found["sha256"] != only:
            stop("The service says something else now; look at it again.", as_json=as_json, status=PROBLEM)
        if changes and (approved or (not as_json and _wanted())):
            daemon.put(path, {"sha256": found["sha256"]})
            pinned = True
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json({"changes": changes, "sha256": found["sha256"], "pinned": pinned})
    elif changes:
        console.print("[green]pinned[/green]" if pinned else f"not pinned: what was pinned stays; {how}")
    raise typer.Exit(PROBLEM if changes and not pinned else 0)


def _read(source: Path, *, as_json: bool) -> bytes:
    try:
        content = source.read_bytes()
    except OSError as error:
        stop(f"{source} cannot be read: {error.strerror}.", as_json=as_json)
    if not content.strip():
        stop(f"{source} is empty.", as_json=as_json)
    return content


def _wanted() -> bool:
    """Ask, where somebody can answer."""
    return sys.stdin.isatty() and typer.confirm("Pin it?")


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield what stands differently, as `+ path: value`, `- path` or `~ path: old -> new`.

    Whoever pins it sees every value that is new, written so that none of its characters does anything to a terminal.
    """
    before, after = _parts(old), _parts(new)
    if type(old) is not type(new) or not (before or after):
        if type(old) is not type(new) or old != new:
            yield f"~ {path}: {old!r} -> {new!r}"
        return
    for part in sorted(before.keys() | after.keys(), key=_rank):
        place = _below(path, part)
        if part not in after:
            yield f"- {place}"
        elif part not in before:
            yield from _added(after[part], place)
        else:
            yield from differences(before[part], after[part], place)


def _added(value: Any, path: str) -> Iterator[str]:
    """Yield what is new: of things within things, each of them with its value."""
    parts = _parts(value)
    if not parts:
        yield f"+ {path}: {value!r}"
    for part in sorted(parts, key=_rank):
        yield from _added(parts[part], _below(path, part))


def _parts(value: Any) -> dict[str, Any]:
    """Return what a value consists of: of a list, by name where its members have one each, and else by number."""
    if isinstance(value, Mapping):
        return {_word(name): member for name, member in value.items()}
    if not isinstance(value, list):
        return {}
    names = [one.get("name") if isinstance(one, Mapping) else None for one in value]
    if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
        return {_word(name): one for name, one in zip(names, value, strict=True)}  # whatever their order
    return {f"[{number}]": one for number, one in enumerate(value)}


def _word(name: Any) -> str:
    """Return a name as part of a place: one that could be taken for something else, in quotation marks."""
    return str(name) if re.fullmatch(r"[\w$-]+", str(name)) else repr(name)


def _rank(part: str) -> tuple[int, str]:
    return (len(part) if part.startswith("[") else 0), part


def _below(path: str, part: str) -> str:
    return path + part if part.startswith("[") or not path else f"{path}.{part}"


def _show(changes: list[str], sha256: str) -> None:
    if not changes:
        console.print("[green]Nothing has changed[/green] since it was pinned.")
    for change in changes:
        colour = {"+": "green", "-": "red"}.get(change[0], "yellow")
        console.print(f"[{colour}]{plain(change)}[/{colour}]")
    if changes:
        console.print(f"SHA-256 of the whole: {plain(sha256)}")
