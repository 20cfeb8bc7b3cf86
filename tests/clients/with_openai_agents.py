"""The openai-agents SDK's MCP servers, without any model: lists the tools and calls one, as a JSON argument says."""

import asyncio
import json
import sys
from typing import Any

from agents.mcp import MCPServerSse, MCPServerStdio, MCPServerStreamableHttp

_SECONDS = 120.0


def server(wanted: dict[str, Any]) -> Any:
    """Return the server as the SDK sees it."""
    if wanted["transport"] == "stdio":
        command, *arguments = wanted["command"]
        params = {"command": command, "args": arguments}
        return MCPServerStdio(params=params, client_session_timeout_seconds=_SECONDS)
    kind = MCPServerSse if wanted["transport"] == "sse" else MCPServerStreamableHttp
    headers = {"Authorization": f"Bearer {wanted['token']}"}
    return kind(params={"url": wanted["url"], "headers": headers}, client_session_timeout_seconds=_SECONDS)


async def main(wanted: dict[str, Any]) -> None:
    """List and call."""
    async with server(wanted) as connected:
        tools = await connected.list_tools()
        answer = await connected.call_tool(wanted["tool"], wanted["arguments"])
        refused = await connected.call_tool(wanted["tool"], wanted["wrong"])
    is_error = getattr(refused, "is_error", None) or getattr(refused, "isError", False)
    said = {"tools": [tool.name for tool in tools], "text": answer.content[0].text, "refused": bool(is_error)}
    sys.stdout.write(json.dumps(said) + "\n")


asyncio.run(main(json.loads(sys.argv[1])))
