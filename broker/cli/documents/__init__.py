"""`aam documents`: each command in a file of its name."""

import typer

from broker.cli.documents.history import history
from broker.cli.documents.rollback import rollback
from broker.cli.documents.show import show

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="See how the documents came to be what they are, and undo a change.",
    epilog="Example: aam documents history --dir ./access",
)
app.command(epilog="Example: aam documents history --last 50")(history)
app.command(epilog="Example: aam documents show 9f86d081 --diff")(show)
app.command(epilog="Example: aam documents rollback 9f86d081 --reason 'the new policy denies too much'")(rollback)
