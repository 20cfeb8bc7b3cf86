"""MCP: any upstream server, by Streamable HTTP, SSE or as a program, behind the broker's policies and trail.

What a server says of itself is pinned; what it says otherwise later is refused until somebody has approved it.
"""

from broker.connector import Connector, Endpoints, Question, Response
from connectors.mcp.pin import describe, probe
from connectors.mcp.settings import McpSettings
from connectors.mcp.tools import tools

__all__ = ["CONNECTOR"]

_NOWHERE = "https://token-endpoint.invalid"  # a document whose grants need tokens names its own under `oauth`


def expired(response: Response) -> bool:
    """Tell whether the server asks for another token (RFC 6750 §3.1)."""
    return response.status == 401  # noqa: PLR2004 - HTTP's own


CONNECTOR = Connector(
    name="mcp",
    hosts=(),
    endpoints=Endpoints(_NOWHERE),
    grant="api-key",
    further_grants=("authorization-code", "client-credentials", "token-exchange", "id-jag", "jwt-bearer", "basic"),
    tools=tools,
    expired=expired,
    probe=probe,
    describe=describe,
    settings=McpSettings,
    about="Any MCP server: by URL, or a program on this machine. What it says of its tools is pinned.",
    asks=(
        Question(
            "url",
            "The server's URL; nothing where it is a program (--set process.command='[/usr/bin/node, …]')",
            usual="",
            example="https://mcp.example.com/mcp",
        ),
        Question("grants.api_key.prefix", "What stands before a token that you hand over", usual="Bearer "),
        Question("snapshot", "The file in which its definitions are pinned", usual="{name}.snapshot.json"),
        Question(
            "settings.lets",
            "What the server may ask or tell clients: elicitation, sampling, roots, logging",
            "list",
            usual="",
        ),
    ),
    processes=True,
    discovers=True,
)
