"""`aam connector add`: a guided minute from a service's name to a checked Connector document."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from broker.cli.connectors.writing import document_text, next_steps
from broker.cli.daemon import HERE, Directory
from broker.cli.output import PROBLEM, AsJson, console, plain, print_json, stop
from broker.connector import Connector, Question
from broker.connector.asking import spec_of
from broker.connector.installed import find_connector, installed_types
from broker.documents import Invalid, Snapshot, load
from broker.documents.changing import checked_change, make_change
from broker.documents.files import inside, is_document
from broker.documents.restore import CannotRestore
from broker.documents.scalar import read_scalar
from broker.documents.words import nearest

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_NO_GRANT = "none"
_MOST_SHOWN = 8


@app.command(
    epilog="Example: aam connector add crm --type salesforce --url https://example.my.salesforce.com "
    "--resource accounts=Account --dir ./access"
)
def add(
    name: Annotated[
        str | None, typer.Argument(help="What policies will call it; its type, if nothing is said.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", "-t", help="Which connector: one that is installed; asked for otherwise.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="The URL under which the service is called.")] = None,
    resource: Annotated[
        list[str] | None, typer.Option(metavar="NAME=SERVICES_NAME", help="A resource; several times for more.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PLACE=VALUE", help="Anything else of 'spec', as settings.api_version=59.0."),
    ] = None,
    grant: Annotated[
        str | None, typer.Option(help="The kind of account that calls are made with; 'none' where it takes none.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="The file to write, below the documents' directory.")] = None,
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Connect another service: asks what it must know, and writes a Connector document that the whole set takes.

    Everything can be said by options; what is not is asked for at a terminal. Nothing is ever overwritten.
    """
    asks = sys.stdin.isatty() and not as_json
    kind = kind or _choose(asks=asks, as_json=as_json)
    connector = _found(kind, as_json=as_json)
    name = name or (
        typer.prompt("What shall policies call it", default=_usual_name(kind)) if asks else _usual_name(kind)
    )
    if not _NAME.fullmatch(name):
        stop(f"{name!r} is no name: small letters, digits and '_', 31 at most.", as_json=as_json)
    questions = connector.asks
    try:
        answers = _given(questions, url, resource, setting)
        if asks:
            answers |= _asked(questions, answers, name)
            grant = grant or _asked_grant(connector)
        if grant is not None and grant != connector.grant:
            answers["grants.kinds"] = _kinds(connector, grant)
        spec = {"type": kind, **spec_of(questions, answers, name)}
        if connector.models is None:  # a route says what becomes of a model's failure
            spec.setdefault("limits", {}).setdefault("retries", {"most": 2})
    except ValueError as error:
        stop(f"{error}.", as_json=as_json)
    except LookupError as missing:
        _say_missing(missing.args, as_json=as_json)
    written, snapshot = _write(directory, name, spec, file, as_json=as_json)
    _say(directory, name, written, snapshot, as_json=as_json)


def _choose(*, asks: bool, as_json: bool) -> str:
    types = installed_types()
    if not asks:
        stop(f"Say with --type which connector: there is {', '.join(types)}.", as_json=as_json)
    for one in types:
        console.print(f"  [bold]{plain(one):<14}[/bold] {plain(_about(one))}")
    return str(typer.prompt("Which type of service"))


def _about(kind: str) -> str:
    try:
        return find_connector(kind).about
    except Exception as error:  # noqa: BLE001 - somebody else's module: whatever it raises, the others can be chosen
        return f"cannot be loaded: {type(error).__name__}"


def _found(kind: str, *, as_json: bool) -> Connector:
    try:
        return find_connector(kind)
    except LookupError:
        stop(f"No connector {kind!r} is installed{nearest(kind, installed_types())}.", as_json=as_json)
    except Exception as error:  # noqa: BLE001 - somebody else's module
        stop(f"The connector {kind!r} cannot be loaded: {type(error).__name__}.", as_json=as_json, status=PROBLEM)


def _usual_name(kind: str) -> str:
    return kind.replace("-", "_")


def _given(
    questions: Sequence[Question], url: str | None, resource: list[str] | None, setting: list[str] | None
) -> dict[str, Any]:
    """Return what the options say, by place."""
    given: dict[str, Any] = {} if url is None else {"url": url}
    if resource:
        given["resources"] = Question("resources", "", "mapping").read(",".join(resource))
    known = {one.place: one for one in questions}
    for one in setting or ():
        place, equals, text = one.partition("=")
        if not equals or not place:
            raise ValueError(f"--set {one}: PLACE=VALUE is expected, as --set settings.api_version=59.0")
        given[place] = known[place].read(text) if place in known else read_scalar(text)
    return given


def _asked(questions: Sequence[Question], answers: dict[str, Any], name: str) -> dict[str, Any]:
    """Ask what the options have not said; what is usual stands in brackets, and Enter takes it."""
    said: dict[str, Any] = {}
    for question in questions:
        usual = None if question.usual is None else question.usual.replace("{name}", name)
        words = question.words + (f" (as {question.example})" if question.example else "")
        while question.place not in answers and question.place not in said:
            text = typer.prompt(words, default=usual, show_default=bool(usual))
            if not text:
                break
            try:
                said[question.place] = question.read(text if text == usual else text.strip())
            except ValueError as error:
                console.print(f"[yellow]{plain(error)}[/yellow]")
    return said


def _asked_grant(connector: Connector) -> str | None:
    """Ask with which kind of account it is called, where there is a choice."""
    if not connector.further_grants:
        return None
    kinds = ", ".join((connector.grant, *connector.further_grants, _NO_GRANT))
    return str(typer.prompt(f"Which kind of account ({kinds})", default=connector.grant)).strip()


def _kinds(connector: Connector, grant: str) -> list[str]:
    """Return the kinds of grants that the document is to name; raise `ValueError` for one that is not taken."""
    known = (connector.grant, *connector.further_grants)
    if grant not in (*known, _NO_GRANT):
        raise ValueError(f"{connector.name} takes no {grant} grants{nearest(grant, (*known, _NO_GRANT))}")
    return [] if grant == _NO_GRANT else [grant]


def _say_missing(missing: Sequence[Question], *, as_json: bool) -> NoReturn:
    options = {"url": "--url URL", "resources": "--resource NAME=SERVICES_NAME"}
    said = "; ".join(
        f"{options.get(one.place, f'--set {one.place}=…')} ({one.words}{f', as {one.example}' if one.example else ''})"
        for one in missing
    )
    stop(f"Say also: {said}.", as_json=as_json)


def _write(
    directory: Path, name: str, spec: dict[str, Any], file: Path | None, *, as_json: bool
) -> tuple[str, Snapshot]:
    """Check the whole set with the new document in it, and put the document in place, whole; or end the command."""
    try:
        before = load(directory)
    except Invalid as invalid:
        first = "; ".join(map(str, invalid.problems[:_MOST_SHOWN]))
        stop(f"Mend the documents that are there first: {first}.", as_json=as_json, status=PROBLEM)
    if (known := before.connections.get(name)) is not None:
        stop(f"There is a connector {name} already, in {known.file}; choose another name.", as_json=as_json, status=1)
    place = str(file) if file is not None else _beside(before, name)
    if inside(place) != place or not is_document(place):
        stop(f"{place} is no place below {directory} for a document; name a .yaml file there.", as_json=as_json)
    if (directory / place).is_symlink() or (directory / place).exists():
        stop(f"{place} is there already, and is not overwritten; name another with --file.", as_json=as_json, status=1)
    try:
        planned, after = checked_change(directory, {place: document_text(name, spec)})
        make_change(planned)
    except Invalid as invalid:
        said = "; ".join(
            f"{one.key}: {one.message}" if one.key else one.message for one in invalid.problems[:_MOST_SHOWN]
        )
        stop(f"Nothing is written, for the document would not be right: {said}.", as_json=as_json)
    except CannotRestore as problem:
        stop(str(problem), as_json=as_json, status=PROBLEM)
    return place, after


def _beside(before: Snapshot, name: str) -> str:
    """Return a file beside the other Connector documents; below the Broker document where there is none."""
    others = sorted(connection.file for connection in before.connections.values())
    folder = Path(others[0]).parent if others else before.base.relative_to(before.directory) / "connectors"
    return str(folder / f"{name}.yaml")


def _say(directory: Path, name: str, written: str, after: Snapshot, *, as_json: bool) -> None:
    where = shlex.quote(str(directory))
    steps, policy = next_steps(after, name, "" if directory == HERE else f" --dir {where}")
    if as_json:
        warnings = [str(one) for one in after.warnings if one.file == written]
        print_json({"connector": name, "file": written, "next": steps, "policy": policy, "warnings": warnings})
        return
    console.print(
        f"[green]Written[/green]: {plain(directory / written)}. A broker that runs takes it by itself.\n\nNext:"
    )
    for step in steps:
        console.print(f"  {plain(step)}")
    console.print("\nand let an agent use it, in its policy:")
    for line in policy.splitlines():
        console.print(f"  {plain(line)}")
