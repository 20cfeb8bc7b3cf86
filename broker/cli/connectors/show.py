"""`aam connector show`."""

from typing import Annotated, Any

import typer

from broker.cli.connectors.standing import standing
from broker.cli.daemon import HERE, Daemon, Directory, quoted
from broker.cli.output import AsJson, as_json_text, console, fail, plain, print_json
from broker.errors import Refusal

ConnectorName = Annotated[str, typer.Argument(help="The connector's name, as in its document.")]
_DAY = 86_400
_HOUR = 3_600


def show(name: ConnectorName, directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Show one connector: its document as in force, its tools and accounts, what is pinned, and its limits."""
    try:
        found = Daemon(directory).get(f"/v1/connectors/{quoted(name)}")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    console.print(f"[bold]{plain(found['name'])}[/bold]  {plain(found['file'])}")
    for line in as_json_text(found["document"]).splitlines():
        console.print(f"  {plain(line)}")
    for label, value in (
        ("reaches", ", ".join(found["hosts"])),
        ("accounts", _accounts(found)),
        ("takes", ", ".join(found["kinds"])),
        ("snapshot", _snapshot(found["snapshot"])),
        ("usage", used(found["usage"])),
        ("calls", standing(found["resilience"])),
        ("limits", _limits(found["limits"])),
    ):
        console.print(f"[bold]{label + ':':<10}[/bold] {plain(value)}")
    console.print("[bold]tools:[/bold]")
    for tool in found["tools"]:
        console.print(f"  {plain(tool['name']):<40} {plain(_kind_of(tool))}")


def used(usage: dict[str, Any] | None) -> str:
    """Say how much of a service's own allowance is used."""
    if usage is None:
        return "not known yet"
    said = f"{usage['used']} of {usage['most']}"
    if usage["reserve"]:
        said += f", {usage['reserve']} left to others"
    return said + (": full" if usage["full"] else "")


def _limits(limits: dict[str, Any]) -> str:
    """Return what the document sets, in its own words."""
    flat = {
        f"{name}.{inner}" if inner else name: one
        for name, value in limits.items()
        for inner, one in (value.items() if isinstance(value, dict) else [("", value)])
    }
    return ", ".join(f"{name} {value}" for name, value in flat.items() if value is not None)


def _kind_of(tool: dict[str, Any]) -> str:
    words = ["reads" if tool["reads_only"] else "writes", *tool["scopes"]]
    return ", ".join(words if tool["built"] else [*words, "not built yet"])


def _accounts(found: dict[str, Any]) -> str:
    grants = [f"{grant['kind']} ({grant['status']})" for grant in found["grants"]]
    if not found["kinds"]:
        return "none needed"
    return f"{', '.join(grants) or 'not connected'}; a call uses {_WHOSE[found['accounts']]}"


_WHOSE = {
    "organisation": "the organisation's",
    "person": "that of the person on whose behalf the agent acts",
    "either": "the person's on whose behalf the agent acts, or else the organisation's",
}


def _snapshot(snapshot: dict[str, Any] | None) -> str:
    if snapshot is None:
        return "none"
    if not snapshot["pinned"]:
        return f"{snapshot['file']}, not pinned yet"
    return f"{snapshot['file']}, SHA-256 {snapshot['sha256']}, {_ago(snapshot['age_seconds'])}"


def _ago(seconds: int | None) -> str:
    if seconds is None:
        return "age not known"
    for size, word in ((_DAY, "day"), (_HOUR, "hour")):
        if seconds >= size:
            return f"{seconds // size} {word}{'s' * (seconds // size != 1)} old"
    return "less than an hour old"
