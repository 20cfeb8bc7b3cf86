"""`aam connector remove`: refused while anything still needs the connector, and never without a way back."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.connectors.show import ConnectorName
from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import PROBLEM, AsJson, console, counted, fail, plain, print_json, stop
from broker.documents import Invalid, Snapshot, load
from broker.documents.changing import checked_change, make_change
from broker.documents.naming import Named, rules_naming, without
from broker.documents.restore import CannotRestore, Plan
from broker.documents.words import nearest
from broker.errors import DaemonUnreachable, Refusal

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
_KEPT = ".removed"


@dataclass(slots=True)
class _Change:
    """What is to be done: files with another content, files that go, and copies of both as they were."""

    put: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    kept: dict[str, bytes] = field(default_factory=dict)


@app.command(epilog="Example: aam connector remove crm --with-policies --revoke --yes")
def remove(
    name: ConnectorName,
    directory: Directory = HERE,
    *,
    with_policies: Annotated[
        bool, typer.Option("--with-policies", help="Take along the policies that speak of nothing else.")
    ] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke its grants, at the service too.")] = False,
    keep_grants: Annotated[
        bool, typer.Option("--keep-grants", help="Leave its grants sealed in the vault, for when it comes back.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a connector's document away. What was there is kept beside it, and in the documents' history."""
    try:
        before = load(directory)
        change = _change(before, name, with_policies=with_policies, as_json=as_json)
        grants = _grants(directory, name, revoke=revoke, keep=keep_grants, as_json=as_json)
        planned, _ = checked_change(directory, change.put, change.gone)
        _ask(change, yes=yes, as_json=as_json)
        revoked = _revoke(directory, grants) if revoke else []
        kept = _carry_out(directory, planned, change.kept)
    except Invalid as invalid:
        said = "; ".join(map(str, invalid.problems[:8]))
        stop(f"Nothing is removed, for the documents would not be right: {said}.", as_json=as_json, status=PROBLEM)
    except (CannotRestore, OSError) as problem:
        stop(str(problem), as_json=as_json, status=PROBLEM)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    back = f"aam documents rollback {before.digest[:12]} --reason …"
    if as_json:
        print_json({"connector": name, "kept": kept, "revoked": revoked, "back": back})
        return
    console.print(f"[green]Removed[/green]: {plain(name)}. What was there is kept in {plain(', '.join(kept))}.")
    if revoked:
        console.print(f"Revoked: {counted(len(revoked), 'grant')}.")
    console.print(f"The way back, if a broker has had these documents: {plain(back)}")


def _change(before: Snapshot, name: str, *, with_policies: bool, as_json: bool) -> _Change:
    """Return what taking it away means for the files; end the command if policies stand in the way."""
    connection = before.connections.get(name)
    if connection is None:
        stop(f"There is no connector {name!r}{nearest(name, before.connections)}.", as_json=as_json)
    rules = rules_naming(before.contents, name)
    _check(rules, with_policies=with_policies, as_json=as_json)
    gone: dict[str, set[tuple[str, str]]] = {connection.file: {("Connector", name)}}
    for rule in rules:
        gone.setdefault(rule.file, set()).add(("AgentPolicy", rule.policy))
    change = _Change()
    for file, documents in gone.items():
        text = before.contents[file]
        rest = without(text, file, documents)
        change.kept[file] = text
        if rest is None:
            change.gone.add(file)
        else:
            change.put[file] = rest
    return change


def _check(rules: list[Named], *, with_policies: bool, as_json: bool) -> None:
    said = "; ".join(map(str, rules[:8]))
    if rules and not with_policies:
        stop(
            f"Policies still name it: {said}. Take these rules out, or say --with-policies.", as_json=as_json, status=1
        )
    others = [rule for rule in rules if not rule.alone]
    if others:
        said = "; ".join(map(str, others[:8]))
        stop(
            f"These policies speak of other things too: take these rules out yourself: {said}.",
            as_json=as_json,
            status=1,
        )


def _grants(directory: Path, name: str, *, revoke: bool, keep: bool, as_json: bool) -> list[str]:
    """Return the ids of its grants; end the command if there are any and nobody has said what becomes of them."""
    if revoke and keep:
        stop("Say either --revoke or --keep-grants.", as_json=as_json)
    try:
        found: list[Mapping[str, Any]] = Daemon(directory).get("/v1/grants")
    except DaemonUnreachable:
        if not keep:
            stop(
                "No broker answers, so nobody knows whether there are grants: start it, or say --keep-grants.",
                as_json=as_json,
                status=PROBLEM,
            )
        return []
    grants = [str(one["id"]) for one in found if one["connector"] == name and one["status"] != "revoked"]
    if grants and not (revoke or keep):
        stop(
            f"It has {counted(len(grants), 'grant')}: say --revoke, or --keep-grants if it is to come back.",
            as_json=as_json,
            status=PROBLEM,
        )
    return grants


def _ask(change: _Change, *, yes: bool, as_json: bool) -> None:
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        stop("Nothing is removed unless you say --yes.", as_json=as_json)
    for file in sorted(change.kept):
        console.print(f"[red]- {plain(file)}[/red]" if file in change.gone else f"[yellow]~ {plain(file)}[/yellow]")
    if not typer.confirm("Remove it?"):
        raise typer.Exit(PROBLEM)


def _revoke(directory: Path, grants: list[str]) -> list[str]:
    daemon = Daemon(directory)
    return [str(daemon.delete(f"/v1/grants/{quoted(grant)}")["grant"]) for grant in grants]


def _carry_out(directory: Path, planned: Plan, files: Mapping[str, bytes]) -> list[str]:
    """Keep a copy of everything under a name that is no document's, then change the set, whole or not at all."""
    kept = [_keep(directory, file, text) for file, text in sorted(files.items())]
    make_change(planned)
    return kept


def _keep(directory: Path, file: str, text: bytes) -> str:
    for number in range(1000):
        place = f"{file}{_KEPT}{f'-{number}' if number else ''}"
        try:
            with (directory / place).open("xb") as copy:
                copy.write(text)
        except FileExistsError:
            continue
        return place
    raise CannotRestore(f"There are too many files {file}{_KEPT}; look at them.")
