"""`aam documents history`."""

from typing import Annotated

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.documents.sets import SHORT, said_of_actor, said_of_changes
from broker.cli.output import AsJson, fail, print_json, print_table
from broker.errors import Refusal


def history(
    directory: Directory = HERE,
    *,
    last: Annotated[int, typer.Option(min=1, max=200, help="How many sets to list.")] = 20,
    before: Annotated[
        int | None, typer.Option(metavar="RECORD", min=0, help="Only sets that are older than this record.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the sets of documents that came into force, the newest first: when, what changed, and who rolled back."""
    try:
        page = {"last": last} if before is None else {"last": last, "before": before}
        found = Daemon(directory).get("/v1/documents/history", **page)
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["time"],
            one["digest"][:SHORT],
            one["record"],
            said_of_changes(one["changed"]),
            said_of_actor(one),
            "in force" if one["in_force"] else "",
        )
        for one in found["sets"]
    ]
    print_table(("time", "digest", "record", "changed", "actor", "now"), rows, "No set of documents is that old.")
