"""Which calls a command is about, and why: what `erase` and `hold` share."""

from typing import Annotated, Any

import typer

from broker.audit import Filter
from broker.cli.output import stop

Call = Annotated[str | None, typer.Option(help="This one call.", rich_help_panel="Which calls")]
Why = Annotated[str, typer.Option("--reason", help="Why. It stands in the trail for good: name no person in it.")]


def wanted(call: str | None, chosen: Filter, *, as_json: bool) -> dict[str, Any]:
    """Return what a request says of which calls; end the command as misuse unless it is one call or some filter."""
    query = chosen.query()
    if (call is None) == (not query):
        stop("Say which calls: either --call, or --since, --agent, --owner and the like.", as_json=as_json)
    return {"filter": query} if call is None else {"call": call}
