"""`aam serve` with the notes' connector beside the installed ones: `python -m tests.support.serve DIR`.

`--kill-at POINT` ends the process there with SIGKILL, see `killing`; `--spans FILE` exports telemetry to a file;
`--matcher-off` lets credentials through, for the tests that must find them then.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from broker.app import Options, Serving, serve
from broker.app.logs import set_up_logging
from broker.connector import Connector
from broker.connector.installed import find_connector
from broker.errors import Refusal
from broker.redact import leaving
from broker.vault.matcher import SecretMatcher
from tests.support.killing import kill_at
from tests.support.leaky import LEAKY
from tests.support.notes import Notes

NOTES = Notes()


def find(name: str) -> Connector:
    """Find the tests' own connectors, and those that are installed."""
    return {"notes": NOTES.connector, "leaky": LEAKY}.get(name) or find_connector(name)


def print_facts(facts: dict[str, Any]) -> None:
    """Say where it serves, as one line of JSON."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main(given: Sequence[str] | None = None, tell: Callable[[dict[str, Any]], None] = print_facts) -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kill-at")
    parser.add_argument("--spans", type=Path)
    parser.add_argument("--matcher-off", action="store_true")
    arguments = parser.parse_args(given)
    set_up_logging()
    if arguments.kill_at:
        kill_at(arguments.kill_at)
    if arguments.spans:
        provider = TracerProvider()
        exporter = ConsoleSpanExporter(out=arguments.spans.open("w"))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
    if arguments.matcher_off:
        patch.object(SecretMatcher, "hits", lambda *_: False).start()
        patch.object(leaving, "_IN_BYTES", re.compile(rb"(?!)")).start()
    options = Options(arguments.directory, development=True, find=find)

    def ready(serving: Serving) -> None:
        socket = str(serving.agents_socket)
        tell({"http": serving.http, "agents_socket": socket, "unfinished": serving.unfinished})

    try:
        anyio.run(serve, options, ready, backend_options={"use_uvloop": True})
    except Refusal as refusal:
        sys.stderr.write(f"{refusal.code}: {refusal.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
