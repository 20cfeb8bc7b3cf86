"""`aam policy diff`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.output import AsJson, console, plain, print_json
from broker.cli.policy.sets import loaded
from broker.documents import compare

_COLOURS = {"allowed": "yellow", "refused": "green", "changed": "cyan"}
Set = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A directory of documents.")]


def diff(old: Set, new: Set, *, as_json: AsJson = False) -> None:
    """Say what becomes allowed, refused or otherwise bound from one set of documents to another; needs no network."""
    before, after = loaded(old, as_json=as_json), loaded(new, as_json=as_json)
    found = list(compare(before, after))
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        return
    for one in found:
        colour = _COLOURS[one.change]
        console.print(
            f"[{colour}]{one.change}[/{colour}]  {plain(one.workload)}  {plain(one.resource)} {plain(one.action)}"
        )
        for sign, terms in (("-", one.old), ("+", one.new)):
            for term in terms if set(one.old) != set(one.new) else ():
                if term not in (one.new if sign == "-" else one.old):
                    console.print(f"    {sign} {plain(term)}")
    if not found:
        console.print("Nothing that agents may do differs.")
