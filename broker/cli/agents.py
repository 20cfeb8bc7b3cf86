"""`aam agents`."""

import typer

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import AsJson, fail, print_json, print_table
from broker.errors import Refusal

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog="Example: aam agents --dir ./access")
def agents(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """List the registered agents: who answers for them, and what they may do."""
    try:
        found = Daemon(directory).get("/v1/agents")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(found)
        return
    columns = ("name", "workload", "owner", "team", "environment", "deployment", "status", "policies", "tools")
    print_table(
        columns,
        ([", ".join(agent[key]) if key == "policies" else agent[key] for key in columns] for agent in found),
        "No agent is registered.",
    )
