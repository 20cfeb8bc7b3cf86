"""The broker as a process of its own, with the small connector installed: `python -m tests.benchmarks.served DIR`."""

import sys
from pathlib import Path

import anyio

from broker.app import Options, Serving, serve
from broker.connector import Connector
from broker.connector.installed import find_connector
from tests.benchmarks.notes import NOTES


def find(name: str) -> Connector:
    """Find the small connector, and those that are installed."""
    return NOTES if name == NOTES.name else find_connector(name)


def ready(_serving: Serving) -> None:
    """Say so."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    options = Options(Path(sys.argv[1]), development=True, find=find)
    anyio.run(serve, options, ready, backend_options={"use_uvloop": True})
