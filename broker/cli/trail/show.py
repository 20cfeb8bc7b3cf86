"""`aam trail show`."""

from typing import Annotated

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import AsJson, fail, print_json
from broker.cli.records import print_whole
from broker.errors import Refusal


def show(
    call: Annotated[str, typer.Argument(help="The call's id.")],
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """Show everything that was recorded of one call."""
    try:
        records = Daemon(directory).get(f"/v1/trail/calls/{quoted(call)}")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(records)
        return
    for record in records:
        print_whole(record)
