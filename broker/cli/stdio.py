"""`aam stdio`: started with every agent, so it takes no more from Python than it must."""

import argparse
import importlib
import os
from collections.abc import Callable, Sequence

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
        help="which agent this process is, where several share its user; a SPIFFE ID with --audience [AAM_AGENT]",
    )
    parser.add_argument(
        "--audience",
        default=os.environ.get("AAM_AUDIENCE"),
        help="fetch a JWT-SVID for this audience from the Workload API, for each message [AAM_AUDIENCE]",
    )
    parser.add_argument(
        "--workload-api",
        default=os.environ.get("SPIFFE_ENDPOINT_SOCKET"),
        help="where that is, as unix:///run/spire/agent.sock [SPIFFE_ENDPOINT_SOCKET]",
    )
    given = parser.parse_args(arguments)
    try:
        fetch = _fetching(given) if given.audience else None
    except ValueError as mistake:
        parser.error(str(mistake))
    try:
        return Relay(given.socket, given.token_file or None, given.agent or None, fetch).run()
    except KeyboardInterrupt:
        return 0


def _fetching(given: argparse.Namespace) -> Callable[[], str]:
    """Return what fetches tokens from the Workload API; loaded here, for it is heavy and most relays need none."""
    if given.token_file:
        raise ValueError("--audience and --token-file are two proofs; give one")
    if not given.workload_api:
        raise ValueError(
            "--audience needs a Workload API: --workload-api, or SPIFFE_ENDPOINT_SOCKET in the environment"
        )
    if given.agent and not given.agent.startswith("spiffe://"):
        raise ValueError("with --audience, --agent is a SPIFFE ID")
    own = importlib.import_module("broker.identity.own_token")
    fetch: Callable[[], str] = own.own_token(given.workload_api, given.audience, given.agent or None).fetch
    return fetch
