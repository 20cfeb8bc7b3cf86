"""The options by which commands pick calls and events of the trail."""

from typing import Annotated

import typer

from broker.audit import Filter
from broker.cli.output import stop

_PANEL = "Which calls"

Since = Annotated[
    str | None, typer.Option(help="From this moment on: a date, or a time with its offset.", rich_help_panel=_PANEL)
]
Until = Annotated[str | None, typer.Option(help="Before this moment.", rich_help_panel=_PANEL)]
Agent = Annotated[str | None, typer.Option(help="Of this agent: its name or SPIFFE ID.", rich_help_panel=_PANEL)]
Owner = Annotated[str | None, typer.Option(help="Of agents of this owner.", rich_help_panel=_PANEL)]
Team = Annotated[str | None, typer.Option(help="Of agents of this team.", rich_help_panel=_PANEL)]
Resource = Annotated[str | None, typer.Option(help="On this resource.", rich_help_panel=_PANEL)]
Action = Annotated[str | None, typer.Option(help="This action.", rich_help_panel=_PANEL)]
Decision = Annotated[str | None, typer.Option(help="So decided: permit or deny.", rich_help_panel=_PANEL)]
Code = Annotated[str | None, typer.Option(help="That ended with this code.", rich_help_panel=_PANEL)]


def filter_from(*, as_json: bool, **options: str | None) -> Filter:
    """Return the filter that the options make; end the command as misuse, naming the option, if they make none."""
    for name, value in options.items():
        if value is not None and not value.strip():
            stop(f"--{name}: is empty.", as_json=as_json)
    try:
        return Filter.parse({name: value for name, value in options.items() if value is not None})
    except ValueError as error:
        stop(f"--{error}.", as_json=as_json)
