"""A small MCP server whose every answer a test can decide: honest, lying, slow, or dead."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Self

from starlette.types import Receive, Scope, Send

from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind

MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"
TOKEN = "CANARY-0123456789-abcdefghijklmnopqrstuvwxyz"
Message = dict[str, Any]
Answer = Callable[[Message, Send], Awaitable[bool]]
"""Answers one `tools/call` as it likes; returns whether it did, so that the usual answer is left out."""


def note_tool(**changes: Any) -> Message:
    """Return the definition of the one tool that the server has."""
    return {
        "name": "readNote",
        "description": "Read a note.",
        "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        "annotations": {"readOnlyHint": True},
        **changes,
    }


class LowMcp:
    """Serves over TLS on loopback, in the eras that it is told to speak. `took` are the messages that came."""

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}/mcp"
        self.tools = [note_tool()]
        self.modern = True
        self.handshake = True
        self.result: Message = {"content": [{"type": "text", "text": "Revenue grew."}]}
        self.answers: Answer | None = None
        self.sessions: set[str] = set()
        """The sessions that it knows; while `keeps` is set, every handshake begins one."""
        self.keeps = False
        self.took: list[Message] = []
        self.headers: list[dict[str, str]] = []
        self.answered: list[Message] = []
        """What clients answered to what the server asked."""
        self._came = asyncio.Event()
        self._server = LoopbackServer(self._serve, authority.issue("mcp"), listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    def methods(self) -> list[str]:
        """Return the methods of what came, in order."""
        return [one.get("method", "") for one in self.took]

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.headers.append({name.decode(): value.decode("latin-1") for name, value in scope["headers"]})
        if scope["method"] != "POST":
            await reply(send, 405, None)
            return
        said: Message = json.loads(body)
        self.took.append(said)
        session = self.headers[-1].get("mcp-session-id")
        if session is not None and session not in self.sessions:
            await reply(send, 404, None)
            return
        if "id" not in said or "method" not in said:
            if "result" in said or "error" in said:
                self.answered.append(said)
            await reply(send, 202, None)
            return
        await self._answer(said, send)

    async def _answer(self, said: Message, send: Send) -> None:
        if said["method"] == "tools/call" and self.answers is not None and await self.answers(said, send):
            return
        status, answer = 200, self._result(said)
        if answer is None:
            status, answer = 404, {"error": {"code": -32601, "message": f"no {said['method']} for you: {TOKEN}"}}
        more = []
        if said["method"] == "initialize" and self.keeps:
            self.sessions.add(f"session-{len(self.took)}")
            more = [(b"mcp-session-id", f"session-{len(self.took)}".encode())]
        await reply(send, status, {"jsonrpc": "2.0", "id": said["id"], **answer}, more)

    def _result(self, said: Message) -> Message | None:
        info = {"name": "low", "version": "1"}
        match said["method"]:
            case "server/discover" if self.modern:
                found = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "resultType": "complete"}
                return {"result": {**found, "_meta": {"io.modelcontextprotocol/serverInfo": info}}}
            case "initialize" if self.handshake:
                return {"result": {"protocolVersion": HANDSHAKE, "capabilities": {"tools": {}}, "serverInfo": info}}
            case "tools/list":
                return {"result": {"tools": self.tools, "resultType": "complete"}}
            case "tools/call":
                return {"result": {**self.result, "resultType": "complete"}}
        return None


async def reply(
    send: Send, status: int, message: Message | bytes | None, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with JSON, or with whatever bytes there are instead."""
    text = b"" if message is None else message if isinstance(message, bytes) else json.dumps(message).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    with contextlib.suppress(OSError):
        await send({"type": "http.response.body", "body": text})


async def stream(send: Send, *messages: Message, end: bool = True) -> None:
    """Answer with events; without an end, more can be sent by `event`."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for message in messages:
        await event(send, message)
    if end:
        await send({"type": "http.response.body", "body": b""})


async def event(send: Send, message: Message) -> None:
    """Send one event of a stream."""
    text = f"event: message\ndata: {json.dumps(message)}\n\n".encode()
    await send({"type": "http.response.body", "body": text, "more_body": True})
