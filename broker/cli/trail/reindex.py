"""`aam trail reindex`."""

from broker.cli.daemon import HERE, Daemon, Directory
from broker.cli.output import AsJson, console, counted, fail, print_json
from broker.errors import Refusal


def reindex(directory: Directory = HERE, *, as_json: AsJson = False) -> None:
    """Throw the search index away and have it made again; the trail itself is not touched."""
    try:
        answer = Daemon(directory).post("/v1/trail/reindex")
    except Refusal as refusal:
        fail(refusal, as_json=as_json)
    if as_json:
        print_json(answer)
        return
    console.print(
        f"The search index is made again from {counted(answer['lag']['records'], 'record')}; "
        "'aam status' says how far it is."
    )
