"""fastmcp's client: lists the tools and calls one, as a JSON argument says."""

import asyncio
import json
import sys
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport


def transport(wanted: dict[str, Any]) -> Any:
    """Return the transport that is asked for."""
    if wanted["transport"] == "stdio":
        command, *arguments = wanted["command"]
        return StdioTransport(command=command, args=arguments)
    kind = SSETransport if wanted["transport"] == "sse" else StreamableHttpTransport
    return kind(wanted["url"], headers={"Authorization": f"Bearer {wanted['token']}"})


async def main(wanted: dict[str, Any]) -> None:
    """List and call."""
    async with Client(transport(wanted)) as client:
        tools = await client.list_tools()
        answer = await client.call_tool(wanted["tool"], wanted["arguments"])
        refused = await client.call_tool(wanted["tool"], wanted["wrong"], raise_on_error=False)
    said = {"tools": [tool.name for tool in tools], "text": answer.content[0].text, "refused": refused.is_error}
    sys.stdout.write(json.dumps(said) + "\n")


asyncio.run(main(json.loads(sys.argv[1])))
