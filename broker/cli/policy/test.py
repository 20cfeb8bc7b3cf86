"""`aam policy test`."""

import datetime
from typing import Any

import typer

from broker.cli.daemon import HERE, Directory, Documents, documents_directory
from broker.cli.output import PROBLEM, AsJson, console, counted, plain, print_json
from broker.cli.policy.sets import loaded
from broker.documents import Ran, run_tests
from broker.policy import Rule


def run(
    context: typer.Context,
    documents: Documents = None,
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Run the tests that policies carry, and say which rules none of them covers; needs no network."""
    snapshot = loaded(documents_directory(context, documents, directory), as_json=as_json)
    tested = run_tests(snapshot, datetime.datetime.now(datetime.UTC))
    failed = [one for one in tested.ran if one.wrong is not None]
    if as_json:
        results = [_as_json(one) for one in tested.ran]
        uncovered = [
            {"policy": one.policy, "place": one.place, "file": one.file, "line": one.line} for one in tested.uncovered
        ]
        print_json({"ok": not failed, "tests": results, "uncovered": uncovered})
        raise typer.Exit(PROBLEM if failed else 0)
    for one in failed:
        console.print(f"[red]failed[/red]    {plain(_place(one.rule))} {plain(_name(one))}: {plain(one.wrong)}")
    for rule in tested.uncovered:
        console.print(f"[yellow]untested[/yellow]  {plain(_place(rule))}: no test is decided by {plain(rule.place)}")
    colour = "red" if failed else "green"
    console.print(f"[{colour}]{counted(len(tested.ran), 'test')}, {len(failed)} failed[/{colour}]")
    raise typer.Exit(PROBLEM if failed else 0)


def _place(rule: Rule) -> str:
    return f"{rule.file}:{rule.line} {rule.policy}"


def _name(one: Ran) -> str:
    return one.test.name or f"{one.test.action} {one.test.resource}"


def _as_json(one: Ran) -> dict[str, Any]:
    return {
        "policy": one.rule.policy,
        "place": one.rule.place,
        "file": one.rule.file,
        "line": one.rule.line,
        "name": one.test.name,
        "expect": one.test.expect,
        "effect": one.decision.effect,
        "reason": one.decision.reason,
        "wrong": one.wrong,
    }
