"""The service as a process: `python -m broker.testing.salesforce --directory DIR`.

It prints one line of JSON when it answers, and runs until SIGTERM or SIGINT, then exits with 0.
"""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from broker.testing.salesforce.service import SESSION_SECONDS, SalesforceService


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m broker.testing.salesforce", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where to write the certificates and keys")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes any free port")
    parser.add_argument("--session-seconds", type=float, default=SESSION_SECONDS, help="how long a token lives")
    parser.add_argument("--canary", default="CANARY", help="a text to find in every token")
    arguments = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with SalesforceService(
        arguments.directory,
        port=arguments.port,
        session_seconds=arguments.session_seconds,
        canary=arguments.canary,
    ) as service:
        facts = {
            "url": service.url,
            "audience": service.audience,
            "ca_file": str(service.ca_file.resolve()),
            "consumer_key": service.consumer_key,
            "consumer_secret": service.app.consumer_secret,
            "username": service.username,
            "private_key_file": str(service.private_key_file.resolve()),
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
