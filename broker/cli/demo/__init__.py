"""`aam demo`: one call end to end, on real protocol traffic, and what it proves."""

import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import anyio
import typer

from broker.cli.demo.servers import DidNotStart, Servers
from broker.cli.demo.story import Story
from broker.cli.output import PROBLEM, AsJson, console, plain, print_json, problems

app = typer.Typer(pretty_exceptions_enable=False)

_LONGEST_PLACE = 60  # characters: the sockets' paths lead below it, and may have a hundred


@app.command(epilog="Example: aam demo --keep")
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave both servers running, for a client of your own.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let an agent read Salesforce through the broker, be refused an export, and see both in the trail.

    The exit status is what was proved: 0 if all of it was.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both servers end with it, as with Ctrl-C
    with tempfile.TemporaryDirectory(prefix="aam-demo-", dir=_place()) as place:
        console.quiet = as_json
        try:
            holds = _tell(Path(place), keep=keep, as_json=as_json)
        finally:
            console.quiet = False
    raise typer.Exit(0 if holds else PROBLEM)


def _tell(place: Path, *, keep: bool, as_json: bool) -> bool:
    """Tell the story, and let the servers run on if that is wanted; return whether every promise was kept."""
    story, servers = Story(place), Servers(place)
    started = time.monotonic()
    failure = ""
    try:
        with servers:
            anyio.run(story.tell, servers)
            seconds = time.monotonic() - started
            story.conclude(seconds)
            if as_json:
                more = {"next": servers.next_steps()} if keep else {}
                print_json({"proved": story.proved, "ok": story.holds, "seconds": round(seconds, 1), **more})
                sys.stdout.flush()
            if keep:
                _keep(servers)
            return story.holds
    except DidNotStart as error:
        failure = str(error)
    except Exception as error:  # noqa: BLE001 - whatever breaks, a promise was not kept, and that is the answer
        failure = f"The story broke off: {_innermost(error)}\n{servers.last_words()}"
    problems.print(f"[red]{plain(failure.splitlines()[0])}[/red]")
    for line in failure.splitlines()[1:]:
        problems.print(f"  {plain(line)}")
    if as_json:
        print_json({"proved": story.proved, "ok": False, "seconds": round(time.monotonic() - started, 1)})
    return False


def _keep(servers: Servers) -> None:
    steps = servers.next_steps()
    console.print("\n[bold]Both servers are still running: join in[/bold]\n")
    console.print("[dim]# an MCP client of yours, as the agent (most read this):[/dim]")
    if not console.quiet:
        print_json(steps["client"])
    for what in ("http", "operator", "policy"):
        for line in steps[what]:
            console.print(plain(line))
    console.print("\nPress Ctrl-C to stop both; what they wrote goes with them.")
    sys.stdout.flush()
    try:
        servers.wait()
        problems.print("[red]One of them ended by itself.[/red]")
    except KeyboardInterrupt:
        console.print("Stopped.")


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _place() -> str | None:
    return None if len(tempfile.gettempdir()) <= _LONGEST_PLACE else "/tmp"  # noqa: S108 - a fresh directory below it
