"""The MCP door: stdio through the relay, SSE and Streamable HTTP, in both protocol eras. SDK types stop here."""

from broker.doors.mcp.http import Sessions, agents_app
from broker.doors.mcp.resource import ProtectedResource
from broker.doors.mcp.server import McpServer
from broker.doors.mcp.socket import AgentsSocket
from broker.doors.mcp.sse import SseDoor
from broker.doors.mcp.streams import OpenStreams, everyone

__all__ = [
    "AgentsSocket",
    "McpServer",
    "OpenStreams",
    "ProtectedResource",
    "Sessions",
    "SseDoor",
    "agents_app",
    "everyone",
]
