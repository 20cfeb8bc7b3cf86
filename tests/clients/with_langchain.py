"""langchain-mcp-adapters: gets the tools and calls one, as a JSON argument says."""

import asyncio
import json
import sys
from typing import Any

from langchain_core.tools import ToolException
from langchain_mcp_adapters.client import MultiServerMCPClient


def server(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the server as the adapters are configured with it."""
    if wanted["transport"] == "stdio":
        command, *arguments = wanted["command"]
        return {"transport": "stdio", "command": command, "args": arguments}
    kind = "sse" if wanted["transport"] == "sse" else "streamable_http"
    return {"transport": kind, "url": wanted["url"], "headers": {"Authorization": f"Bearer {wanted['token']}"}}


def text_of(answer: Any) -> str:
    """Return the text of an answer, which is one or a list of blocks."""
    return answer if isinstance(answer, str) else str(answer[0]["text"])


async def main(wanted: dict[str, Any]) -> None:
    """List and call."""
    tools = {tool.name: tool for tool in await MultiServerMCPClient({"broker": server(wanted)}).get_tools()}
    answer = text_of(await tools[wanted["tool"]].ainvoke(wanted["arguments"]))
    try:
        refused = "invalid_arguments" in text_of(await tools[wanted["tool"]].ainvoke(wanted["wrong"]))
    except ToolException:
        refused = True
    said = {"tools": list(tools), "text": answer, "refused": refused}
    sys.stdout.write(json.dumps(said) + "\n")


asyncio.run(main(json.loads(sys.argv[1])))
