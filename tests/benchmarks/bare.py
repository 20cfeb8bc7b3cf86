"""The peer: the MCP SDK's own server, which checks, records and calls nothing."""

import sys
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server import Server

_TEXT = "Revenue grew in every region but one. " * 5


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    """List nothing."""
    return types.ListToolsResult(tools=[])


async def call_tool(_context: Any, _params: Any) -> types.CallToolResult:
    """Answer at once."""
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=_TEXT)], structured_content={"id": "n1", "text": _TEXT}
    )


if __name__ == "__main__":
    server: Server[Any] = Server(
        "bare", version="1", on_list_tools=list_tools, on_call_tool=call_tool, get_tool_input_schema=lambda _: None
    )
    app = server.streamable_http_app()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", loop="uvloop", http="httptools")
