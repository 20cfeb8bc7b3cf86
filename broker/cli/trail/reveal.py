"""What `aam trail show` says of values that are recorded encrypted, and shows of them with `--reveal`."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from broker.cli.daemon import Daemon, quoted
from broker.cli.output import as_json_text, console, counted, plain, stop

Reveal = Annotated[
    bool, typer.Option("--reveal", help="Show what is recorded encrypted, too; that you saw it is put on record.")
]
Reason = Annotated[
    str | None, typer.Option(help="With --reveal: why. It stands in the trail for good: name no person in it.")
]

_WHY_OMITTED = {
    "not_json": "it could not be written down",
    "too_deep": "it is nested too deeply",
    "too_large": "it is too large",
    "too_many": "these are too many; the others are left out",
    "not_sealed": "it could not be sealed, so the call was refused",
}


def check_reason(reason: str | None, *, reveal: bool, as_json: bool) -> None:
    """End the command as misuse unless a reason is given where it is needed, and only there."""
    if reveal and not (reason or "").strip():
        stop("--reveal needs a --reason; it is put on record.", as_json=as_json)
    if reason is not None and not reveal:
        stop("--reason is for --reveal.", as_json=as_json)


def payloads(daemon: Daemon, call: str) -> list[dict[str, Any]]:
    """Return what is recorded encrypted of a call: each value's field and state, not the value."""
    found: list[dict[str, Any]] = daemon.get(f"/v1/trail/calls/{quoted(call)}/payloads")
    return found


def revealed(daemon: Daemon, call: str, reason: str | None) -> list[dict[str, Any]]:
    """Return the values themselves; the broker puts on record that it has shown them."""
    answer = daemon.post(f"/v1/trail/calls/{quoted(call)}/reveal", {"reason": reason})
    values: list[dict[str, Any]] = answer["values"]
    return values


def print_payloads(found: Iterable[Mapping[str, Any]]) -> None:
    """Say of each value whether it is there, was erased, or was never recorded."""
    for one in found:
        state = {
            "recorded": f"recorded encrypted, {counted(one['bytes'] or 0, 'byte')}; --reveal --reason TEXT shows it",
            "erased": "was recorded encrypted, and has been erased",
            "omitted": f"not recorded: {_WHY_OMITTED.get(str(one['omitted']), one['omitted'])}",
        }.get(one["state"], one["state"])
        console.print(f"[bold]{plain(one['field'])}[/bold]  {plain(state)}")


def print_revealed(values: Iterable[Mapping[str, Any]]) -> None:
    """Print values as JSON, in which no character does anything to a terminal."""
    for one in values:
        console.print(f"[bold]{plain(one['field'])}[/bold]")
        for line in as_json_text(one["value"]).splitlines():
            console.print(f"  {plain(line)}")
