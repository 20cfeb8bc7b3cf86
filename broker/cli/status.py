"""`aam status`."""

from typing import Any

import typer

from broker.cli.connectors.standing import standing
from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import PROBLEM, AsJson, console, counted, fail, plain, print_json
from broker.cli.records import lag_of
from broker.errors import Refusal

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: aam status --dir ./access")
def status(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Show what the running broker is doing; exit 1 if it cannot serve calls."""
    try:
        found: dict[str, Any] = Daemon(directory).get("/v1/status")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
    else:
        _print(found)
    raise typer.Exit(PROBLEM if found["trouble"] else 0)


def _print(found: dict[str, Any]) -> None:
    trouble, trail = found["trouble"], found["trail"]
    built = f" ({found['tools_built']} built)" if "tools_built" in found else ""
    rows = {
        "broker": f"{found['version']}, process {found['pid']}, up {found['uptime_seconds']} s",
        "calls running": found["running_calls"],
        "documents": f"{found['documents']['directory']}, digest {found['documents']['digest'][:12]}",
        "agents, tools": f"{counted(found['agents'], 'agent')}, {counted(found['tools'], 'tool')}{built}",
        "grants": ", ".join(f"{name}: {state}" for name, state in found["grants"].items()) or "none",
        **{f"calls of {name}": standing(one) for name, one in found.get("resilience", {}).items()},
        "trust domains": ", ".join(
            f"{name} ({domain['environment']}{', development' if domain['development'] else ''}, "
            f"{counted(domain['keys'] or 0, 'key')}, {counted(domain['authorities'] or 0, 'X.509 root')}"
            f"{', stale: no longer trusted' if domain['stale'] else ''})"
            for name, domain in found["trust_domains"].items()
        ),
        "issuers": ", ".join(
            f"{name} ({one['environment']}, {counted(one['keys'] or 0, 'key')}"
            f"{', asks its API server' if one['asks_api_server'] else ''})"
            for name, one in found.get("issuers", {}).items()
        )
        or "none",
        "trail": f"{trail['log']}, {counted(trail['records'], 'record')}, root {trail['root'][:16]}…",
        "head signed": f"{counted(trail['signed'] or 0, 'record')} at {trail['signed_at']}",
        **{f"shipped to {one['name']}": _shipped(one) for one in trail["ship"]},
        "search index": lag_of(found["search_index"]) or "up to date",
        "unfinished calls": len(found["unfinished_calls_found_at_start"]),
    }
    state = f"[red]{plain(trouble['status'])}[/red]" if trouble else "[green]serving[/green]"
    console.print(f"The broker is {state}.")
    if found["suspensions"]:
        said = counted(found["suspensions"], "suspension")
        console.print(f"  [red]suspended[/red] {said} in force: aam agents suspensions")
    for name, value in rows.items():
        console.print(f"  [dim]{name:<16}[/dim] {plain(value)}")
    if found["approvals_waiting"]:
        calls = counted(found["approvals_waiting"], "call")
        waits = "wait" if found["approvals_waiting"] > 1 else "waits"
        console.print(f"  [yellow]approval[/yellow] {calls} {waits} for a person's: aam approvals list")
    if found.get("overruns"):
        calls = counted(found["overruns"], "call")
        console.print(f"  [red]overrun[/red] {calls} cost more than was held: aam budget overruns")
    for name in found.get("drifted", []):
        console.print(f"  [red]drifted[/red] {plain(name)} is refused: its server describes it otherwise than approved")
    for what, why in found["hindrances"].items():
        console.print(f"  [red]no calls[/red] {plain(what)}: {plain(why)}")
    for problem in found["documents"]["problems"]:
        console.print(f"  [red]mistake[/red] on disk, not in force: {plain(problem)}")


def _shipped(sink: dict[str, Any]) -> str:
    last = f"{counted(sink['records'], 'record')} at {sink['at']}" if sink["at"] else "nothing yet"
    return f"{last}; {sink['problem']}" if sink["problem"] else last
