"""`aam trail`: each command in a file of its name."""

import typer

from broker.cli.trail.export import export
from broker.cli.trail.report import report
from broker.cli.trail.show import show
from broker.cli.trail.tail import tail
from broker.cli.trail.verify import verify_command

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Read, export and verify the trail.",
    epilog="Example: aam trail tail --dir ./access",
)
app.command(epilog="Example: aam trail tail --last 50 --follow")(tail)
app.command(epilog="Example: aam trail show 01980e2b-6f0c-7c3e-9d1e-2f4a5b6c7d8e")(show)
app.command(epilog="Example: aam trail export trail.jsonl")(export)
app.command("verify", epilog="Example: aam trail verify trail.jsonl")(verify_command)
app.command(epilog="Example: aam trail report --month 2026-11 november.html")(report)
