"""`aam trail`: each command in a file of its name."""

import typer

from broker.cli.trail.checkpoint import checkpoint, keys, rotate_key
from broker.cli.trail.erase import erase
from broker.cli.trail.export import export
from broker.cli.trail.hold import app as hold
from broker.cli.trail.prune import prune
from broker.cli.trail.reindex import reindex
from broker.cli.trail.report import report
from broker.cli.trail.search import search
from broker.cli.trail.show import show
from broker.cli.trail.tail import tail
from broker.cli.trail.verify import verify_command

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Read, export and verify the trail; erase personal data; legal holds.",
    epilog="Example: aam trail tail --dir ./access",
)
app.command(epilog="Example: aam trail tail --last 50 --follow")(tail)
app.command(epilog="Example: aam trail show 01980e2b-6f0c-7c3e-9d1e-2f4a5b6c7d8e")(show)
app.command(epilog="Example: aam trail export bundle.zip")(export)
app.command("verify", epilog="Example: aam trail verify bundle.zip --key log.vkey")(verify_command)
app.command(epilog="Example: aam trail checkpoint > head")(checkpoint)
app.command(epilog="Example: aam trail keys --json")(keys)
app.command("rotate-key", epilog="Example: aam trail rotate-key --dir ./access")(rotate_key)
app.command(epilog="Example: aam trail prune --before 2025-11-01 --reason 'kept for a year' --dry-run")(prune)
app.command(epilog="Example: aam trail erase --owner jane@example.com --reason 'Request 12'")(erase)
app.add_typer(hold, name="hold")
app.command(epilog="Example: aam trail search --agent finance-analyst --decision deny --since 2026-11-01")(search)
app.command(epilog="Example: aam trail reindex --dir ./access")(reindex)
app.command(epilog="Example: aam trail report --month 2026-11 november.html")(report)
