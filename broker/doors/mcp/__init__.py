"""The MCP door: stdio through the relay, SSE and Streamable HTTP, in both protocol eras. SDK types stop here."""

from broker.doors.mcp.http import agents_app
from broker.doors.mcp.server import McpServer
from broker.doors.mcp.socket import AgentsSocket
from broker.doors.mcp.sse import SseDoor

__all__ = ["AgentsSocket", "McpServer", "SseDoor", "agents_app"]
