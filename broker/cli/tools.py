"""`aam tools`."""

from typing import Annotated, Any

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import AsJson, fail, nearest, print_json, print_table
from broker.errors import NotFound, Refusal

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: aam tools --as finance-analyst --dir ./access")
def tools(
    agent: Annotated[str, typer.Option("--as", help="The agent, by name or workload.")],
    directory: Directory = HERE,
    *,
    as_json: AsJson = False,
) -> None:
    """List every tool on the resources that an agent's policies mention, and what becomes of a call to it."""
    try:
        daemon = Daemon(directory)
        agents = daemon.get("/v1/agents")
        if not any(agent in {one["name"], one["workload"]} for one in agents):
            raise NotFound(f"There is no agent {agent!r}{nearest(agent, [one['name'] for one in agents])}")
        found = daemon.get("/v1/tools", **{"as": agent})
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    print_table(
        ("tool", "resource", "action", "for this agent"),
        ((tool["name"], tool["resource"], tool["action"], _state(tool)) for tool in found),
        "The agent's policies mention no resource.",
    )


def _state(tool: dict[str, Any]) -> str:
    if tool["listed"]:
        return f"permitted. {tool['narrowed']}" if tool.get("narrowed") else "permitted"
    return "permitted, not built yet" if tool["permitted"] else "denied"
