"""MCP: any upstream server, by Streamable HTTP, SSE or as a program, behind the broker's policies and trail.

What a server says of itself is pinned; what it says otherwise later is refused until somebody has approved it.
"""

from broker.connector import Connector, Endpoints, Response
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
    processes=True,
    discovers=True,
)
