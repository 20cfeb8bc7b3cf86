"""`aam policy`: each command in a file of its name."""

import typer

from broker.cli.policy.diff import diff
from broker.cli.policy.explain import explain
from broker.cli.policy.replay import replay
from broker.cli.policy.test import run

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Explain decisions; test, compare and try out policies.",
    epilog="Example: aam policy test ./access",
)
app.command(epilog="Example: aam policy explain --as finance-analyst salesforce.accounts read --dir ./access")(explain)
app.command("test", epilog="Example: aam policy test ./access")(run)
app.command(epilog="Example: aam policy diff ./access ./proposed")(diff)
app.command(epilog="Example: aam policy replay ./proposed --since 30d --dir ./access")(replay)
