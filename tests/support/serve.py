"""`aam serve` with the notes' connector beside the installed ones: `python -m tests.support.serve DIR`.

`--kill-at POINT` ends the process there with SIGKILL, see `killing`; `--spans FILE` exports telemetry to a file;
`--matcher-off` lets credentials through, for the tests that must find them then.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from unittest.mock import patch

import anyio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from broker import redact
from broker.app import Options, Serving, serve
from broker.app.logs import set_up_logging
from broker.connector import Connector
from broker.connector.installed import find_connector
from broker.errors import Refusal
from broker.vault.matcher import SecretMatcher
from tests.support.killing import kill_at
from tests.support.leaky import LEAKY
from tests.support.notes import Notes

NOTES = Notes()


def find(name: str) -> Connector:
    """Find the tests' own connectors, and those that are installed."""
    return {"notes": NOTES.connector, "leaky": LEAKY}.get(name) or find_connector(name)


def ready(serving: Serving) -> None:
    """Say where it serves, as one line of JSON."""
    facts = {"http": serving.http, "agents_socket": str(serving.agents_socket), "unfinished": serving.unfinished}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kill-at")
    parser.add_argument("--kill-chance", type=float, default=0.05)
    parser.add_argument("--spans", type=Path)
    parser.add_argument("--matcher-off", action="store_true")
    arguments = parser.parse_args()
    set_up_logging()
    if arguments.kill_at:
        kill_at(arguments.kill_at, arguments.kill_chance)
    if arguments.spans:
        provider = TracerProvider()
        exporter = ConsoleSpanExporter(out=arguments.spans.open("w"))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
    if arguments.matcher_off:
        patch.object(SecretMatcher, "hits", lambda *_: False).start()
        patch.object(redact, "_IN_BYTES", re.compile(rb"(?!)")).start()
    options = Options(arguments.directory, development=True, find=find)
    try:
        anyio.run(serve, options, ready, backend_options={"use_uvloop": True})
    except Refusal as refusal:
        sys.stderr.write(f"{refusal.code}: {refusal.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
