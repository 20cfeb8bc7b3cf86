"""`aam connectors`, and what `aam connector` is made of."""

import typer

from broker.cli.connectors.show import used
from broker.cli.connectors.standing import standing
from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import AsJson, fail, print_json, print_table
from broker.errors import Refusal

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: aam connectors --dir ./access")
def connectors(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List the connectors: whether their accounts are connected, and how much of their services' allowance is used."""
    try:
        found = Daemon(directory).get("/v1/connectors")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "type", "url", "resources", "tools", "account", "requests used", "calls"),
        (
            (
                one["name"],
                one["type"],
                one["url"],
                ", ".join(one["resources"]),
                one["tools"] if one["pinned"] or one["tools"] else "not pinned yet",
                ", ".join(one["grants"]) or ("not connected" if one["asks_for_grants"] else "none needed"),
                used(one["usage"]),
                standing(one["resilience"]),
            )
            for one in found
        ),
        "No connector is configured.",
    )
