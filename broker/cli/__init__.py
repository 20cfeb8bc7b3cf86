"""The commands: `aam`. Each is loaded by name, so that the relay, which stays with every agent, stays tiny."""

import importlib
import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["stdio"]:
        sys.exit(importlib.import_module("broker.cli.stdio").main(sys.argv[2:]))
    importlib.import_module("broker.cli.commands").run()
