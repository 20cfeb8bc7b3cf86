"""`aam grants`."""

import typer

from broker.cli.grants.add import add, client
from broker.cli.grants.connect import connect
from broker.cli.grants.listing import list_grants, revoke, rotate, show, try_grant

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Connect, test, rotate and revoke the accounts that the broker uses.",
    epilog="Example: aam grants list --dir ./access",
)

app.command(
    epilog="Example: aam grants add salesforce --client-id 3MVG9… --subject broker@example.com --key-file app.pem"
)(add)
app.command(epilog="Example: aam grants client salesforce --client-id 3MVG9… --secret-file client.secret")(client)
app.command(epilog="Example: aam grants connect salesforce --port 8765")(connect)
app.command("list", epilog="Example: aam grants list --json")(list_grants)
app.command(epilog="Example: aam grants show salesforce")(show)
app.command("test", epilog="Example: aam grants test salesforce")(try_grant)
app.command(epilog="Example: aam grants rotate salesforce --secret-file new.pem")(rotate)
app.command(epilog="Example: aam grants revoke salesforce")(revoke)
