"""`aam demo`: one call end to end, on real protocol traffic, and what it proves."""

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


@app.command(epilog="Example: aam demo --keep")
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave both servers running, for a client of your own.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let an agent read Salesforce through the broker, be refused an export, and see both in the trail.

    The exit status is what was proved: 0 if all of it was.
    """
    with tempfile.TemporaryDirectory(prefix="aam-demo-") as place:
        console.quiet = as_json
        story = Story(Path(place))
        started = time.monotonic()
        try:
            with Servers(Path(place)) as servers:
                anyio.run(story.tell, servers)
                seconds = time.monotonic() - started
                story.conclude(seconds)
                if keep:
                    _keep(servers)
        except DidNotStart as failure:
            problems.print(f"[red]{plain(failure)}[/red]")
            raise typer.Exit(PROBLEM) from None
        console.quiet = False
        if as_json:
            print_json({"proved": story.proved, "ok": story.holds, "seconds": round(seconds, 1)})
    raise typer.Exit(0 if story.holds else PROBLEM)


def _keep(servers: Servers) -> None:
    console.print("\n[bold]Both servers are still running: join in[/bold]\n")
    for line in servers.next_commands():
        console.print(plain(line))
    console.print("\nPress Ctrl-C to stop both; what they wrote goes with them.")
    try:
        servers.wait()
    except KeyboardInterrupt:
        console.print("Stopped.")
