"""`aam stdio`: started with every agent, so it takes no more from Python than it must."""

import argparse
import os
from collections.abc import Sequence

from broker.doors.stdio import Relay

_EXAMPLE = "Example: aam stdio --socket ./access/run/agents.sock --agent finance-analyst"


def main(arguments: Sequence[str]) -> int:
    """Relay MCP on stdin and stdout to the broker; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="aam stdio",
        description="Relay MCP on stdin and stdout to the broker: what an MCP client starts. Without a token file, the "
        "process itself is the proof.",
        epilog=_EXAMPLE,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--socket",
        default=os.environ.get("AAM_AGENTS_SOCKET", "run/agents.sock"),
        help="the broker's socket for agents [AAM_AGENTS_SOCKET, or run/agents.sock]",
    )
    parser.add_argument(
        "--token-file",
        default=os.environ.get("AAM_TOKEN_FILE"),
        help="a JWT-SVID that a helper renews; read for each message [AAM_TOKEN_FILE]",
    )
    parser.add_argument(
        "--agent",
        default=os.environ.get("AAM_AGENT"),
        help="which agent this process is, where several share its user [AAM_AGENT]",
    )
    given = parser.parse_args(arguments)
    try:
        return Relay(given.socket, given.token_file or None, given.agent or None).run()
    except KeyboardInterrupt:
        return 0
