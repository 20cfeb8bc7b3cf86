"""The options by which every command picks calls and events of the trail."""

from typing import Annotated, Any

import typer

from broker.audit import Filter
from broker.cli.output import stop

_FILTER = "Only these"


def _option(text: str, metavar: str = "TEXT") -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel=_FILTER)


Since = Annotated[str | None, _option("From this moment on: a date, or a time with its offset.", "TIME")]
Until = Annotated[str | None, _option("Before this moment.", "TIME")]
Agent = Annotated[str | None, _option("Of this agent: its name or its SPIFFE ID.", "AGENT")]
Owner = Annotated[str | None, _option("Of agents of this owner.", "OWNER")]
Team = Annotated[str | None, _option("Of agents of this team.", "TEAM")]
Resource = Annotated[str | None, _option("On this resource, as salesforce.accounts.", "RESOURCE")]
Action = Annotated[str | None, _option("This action, as read.", "ACTION")]
Decision = Annotated[str | None, _option("So decided: permit or deny.", "DECISION")]
Code = Annotated[str | None, _option("That ended with this code; docs/errors.md lists them.", "CODE")]


def chosen(*, as_json: bool, **options: str | None) -> Filter:
    """Return the filter of the options; end the command with 2, naming the option, if one asks for nothing known."""
    for name, value in options.items():
        if value is not None and not (value.strip() and value.isprintable()):
            stop(f"--{name}: is empty, or not text.", as_json=as_json)
    try:
        return Filter.parse({name: value for name, value in options.items() if value is not None})
    except ValueError as error:
        stop(f"--{error}.", as_json=as_json)
