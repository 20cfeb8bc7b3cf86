"""`aam trail show`."""

from typing import Annotated

import typer

from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import AsJson, fail, print_json
from broker.cli.records import print_whole
from broker.cli.trail.reveal import Reason, Reveal, check_reason, payloads, print_payloads, print_revealed, revealed
from broker.errors import Refusal


def show(
    call: Annotated[str, typer.Argument(help="The call's id.")],
    directory: Directory = HERE,
    *,
    reveal: Reveal = False,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Show everything that was recorded of one call."""
    check_reason(reason, reveal=reveal, as_json=as_json)
    try:
        daemon = Daemon(directory)
        records = daemon.get(f"/v1/trail/calls/{quoted(call)}")
        found = payloads(daemon, call)
        values = revealed(daemon, call, reason) if reveal else []
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json({"records": records, "payloads": found, "revealed": values} if reveal else records)
        return
    for record in records:
        print_whole(record)
    print_payloads(one for one in found if not values or one["state"] != "recorded")
    print_revealed(values)
