"""`aam trail tail`."""

import sys
import time
from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import AsJson, as_json_text, console, fail, nearest, print_json, stop
from broker.cli.records import RecordLines
from broker.errors import Refusal

_FOLLOW_SECONDS = 0.5
_MOST_RECORDS = 1000  # that the broker gives at once
_STATUSES = ("released", "refused", "failed", "withheld", "cancelled", "outcome_unknown")


def tail(
    directory: Directory = HERE,
    *,
    last: Annotated[int, typer.Option(min=1, max=_MOST_RECORDS, help="How many records to begin with.")] = 20,
    status: Annotated[
        str | None,
        typer.Option(help=f"Only ends of calls like this: {', '.join(_STATUSES)} (of the last {_MOST_RECORDS})."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes; JSON is then one a line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest records, oldest first."""
    if status is not None and status not in _STATUSES:
        stop(f"No call ends as {status!r}{nearest(status, _STATUSES)}", as_json=as_json)
    try:
        daemon = Daemon(directory)
        records = daemon.get("/v1/trail", last=last if status is None else _MOST_RECORDS)
        wanted = _of_status(records, status)[-last:]
        if follow:
            _follow(daemon, records, wanted, status, as_json=as_json)
        elif as_json:
            print_json(wanted)
        elif wanted:
            RecordLines().show(wanted)
        else:
            console.print("The trail has no such records.")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)


def _follow(daemon: Daemon, records: list[Any], wanted: list[Any], status: str | None, *, as_json: bool) -> None:
    """Print what comes until somebody stops it."""
    lines = RecordLines()
    try:
        while True:
            if as_json:
                sys.stdout.writelines(as_json_text(record, indent=None) + "\n" for record in wanted)
            else:
                lines.show(wanted)
            sys.stdout.flush()
            time.sleep(_FOLLOW_SECONDS)
            after = records[-1]["seq"] if records else -1
            newer = daemon.get("/v1/trail", after=after)
            records, wanted = newer or records, _of_status(newer, status)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _of_status(records: list[dict[str, Any]], status: str | None) -> list[dict[str, Any]]:
    return [record for record in records if status is None or (record.get("outcome") or {}).get("status") == status]
