"""A small MCP server that is a program, of the handshake era, with a tool for each way of going wrong."""

import json
import os
import subprocess
import sys
import time
from typing import Any

TOOLS = ("environment", "echo_key", "die", "flood", "hang", "spawn")


def say(message: Any) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def call(name: str) -> str:
    """Do what a tool does."""
    match name:
        case "environment":
            return json.dumps(sorted(os.environ))
        case "echo_key":
            return os.environ["API_KEY"]
        case "die":
            sys.stderr.write("a secret on stderr\n")
            os._exit(3)
        case "flood":
            sys.stdout.write("x" * 1_000_000)
            sys.stdout.flush()
        case "hang":
            time.sleep(3600)
        case "spawn":
            return str(subprocess.Popen(["sleep", "3600"], env={"PATH": "/usr/bin:/bin"}).pid)
    return ""


def answer(message: Any) -> Any:
    """Return the result of a request."""
    match message["method"]:
        case "initialize":
            info = {"name": "low-program", "version": "1"}
            return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": [{"name": one, "inputSchema": {"type": "object"}} for one in TOOLS]}
        case "tools/call":
            return {"content": [{"type": "text", "text": call(message["params"]["name"])}]}


def main() -> None:
    """Serve on the pipes; begin with what is no message, as real programs do."""
    sys.stdout.write("listening on stdio\n")
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            say({"id": message["id"], "result": answer(message)})


if __name__ == "__main__":
    main()
