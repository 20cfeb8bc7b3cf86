"""The MCP Python client over every transport and era; bare HTTP and sockets for what no client would do."""

import contextlib
import itertools
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import httpx2
import requests
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

Era = Literal["legacy", "2026-07-28"]
Transport = Literal["stdio", "sse", "streamable-http"]
ERAS: tuple[Era, ...] = ("legacy", "2026-07-28")
TRANSPORTS: tuple[Transport, ...] = ("stdio", "sse", "streamable-http")
MODERN = "2026-07-28"
AAM = Path(sys.executable).with_name("aam")
CALL_ID = "dev.envisionai.access/call_id"
CODE = "dev.envisionai.access/code"
_PATIENCE = 60.0
_IDS = itertools.count(1)
_ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


class Reachable(Protocol):
    """What a client must know of a broker."""

    @property
    def url(self) -> str:
        """Where agents connect by HTTP."""
        ...

    @property
    def agents_socket(self) -> str:
        """Where the relay connects."""
        ...

    def token(self) -> str:
        """Return a fresh token."""
        ...


@contextlib.asynccontextmanager
async def connected(
    broker: Reachable, transport: Transport, era: Era, token: str | None = None, **more: Any
) -> AsyncIterator[Client]:
    """Connect the MCP Python client; by the relay as the process itself, otherwise with a token."""
    headers = {"Authorization": f"Bearer {token or broker.token()}"}
    async with contextlib.AsyncExitStack() as stack:
        target: Any
        if transport == "stdio":
            target = StdioServerParameters(command=str(AAM), args=["stdio", "--socket", broker.agents_socket])
        elif transport == "sse":
            target = sse_client(f"{broker.url}/sse", headers=headers)
        else:
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers))
            target = streamable_http_client(f"{broker.url}/mcp", http_client=http)
        yield await stack.enter_async_context(Client(target, mode=era, **more))


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back on the 2026-07-28 wire."""

    status: int
    body: dict[str, Any]
    raw: bytes

    @property
    def result(self) -> dict[str, Any]:
        """The result; there must be one."""
        assert "result" in self.body, self.body
        result: dict[str, Any] = self.body["result"]
        return result

    @property
    def error(self) -> dict[str, Any]:
        """The protocol error; there must be one."""
        assert "error" in self.body, self.body
        error: dict[str, Any] = self.body["error"]
        return error

    @property
    def code(self) -> str | None:
        """The refusal's stable code, wherever it stands; None for an answer that is no refusal."""
        if "error" in self.body:
            found: str | None = (self.body["error"].get("data") or {}).get("code")
            return found
        code: str | None = self.result["_meta"].get(CODE)
        return code

    @property
    def call_id(self) -> str:
        """The call's id."""
        if "error" in self.body:
            return str(self.body["error"]["data"]["call_id"])
        return str(self.result["_meta"][CALL_ID])


class Wire:
    """Bare requests on the 2026-07-28 wire of Streamable HTTP, by one principal."""

    def __init__(self, broker: Reachable, token: str | None = None) -> None:
        self._broker = broker
        self._token = token

    def call(self, tool: str, arguments: Any = None, **more: Any) -> Answered:
        """Call a tool."""
        return self.ask("tools/call", {"name": tool, "arguments": {} if arguments is None else arguments}, **more)

    def tools(self) -> list[str]:
        """List the names of the tools."""
        return [tool["name"] for tool in self.ask("tools/list").result["tools"]]

    def ask(
        self, method: str, params: dict[str, Any] | None = None, *, meta: dict[str, Any] | None = None, **headers: str
    ) -> Answered:
        """Send one request; further headers as keywords, with '_' for '-'."""
        params = {**(params or {}), "_meta": {**_ENVELOPE, **(meta or {})}}
        message = {"jsonrpc": "2.0", "id": next(_IDS), "method": method, "params": params}
        response = self.post(json.dumps(message).encode(), method, params.get("name"), **headers)
        return Answered(response.status_code, response.json(), response.content)

    def post(self, body: bytes, method: str, name: Any = None, **headers: str) -> requests.Response:
        """Post any body to /mcp as if it were a request of the method."""
        sent = {
            "Authorization": f"Bearer {self._token or self._broker.token()}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": method,
            **({"Mcp-Name": name} if isinstance(name, str) else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return requests.post(f"{self._broker.url}/mcp", data=body, headers=sent, timeout=_PATIENCE)


class Lines:
    """A bare connection to the agents' socket: what no relay would send can be sent."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(path)
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def say(self, message: Any, proof: Any = None) -> None:
        """Send a message with a proof."""
        self.send(json.dumps({"proof": proof, "message": message}).encode() + b"\n")

    def ask(self, method: str, params: dict[str, Any] | None = None, proof: Any = None) -> dict[str, Any]:
        """Send a request of the 2026-07-28 era and return the next line."""
        self.say(request(method, params), proof)
        return self.next()

    def next(self) -> dict[str, Any]:
        """Return the next line; fail if the broker has closed the connection."""
        line = self._lines.readline()
        assert line, "the broker closed the connection"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def rest(self) -> Iterator[dict[str, Any]]:
        """Yield what comes until the broker closes the connection."""
        for line in self._lines:
            yield json.loads(line)

    def close(self) -> None:
        """Leave."""
        self._lines.close()
        self._socket.close()


def request(method: str, params: dict[str, Any] | None = None, request_id: Any = None) -> dict[str, Any]:
    """Return a request of the 2026-07-28 era."""
    number = next(_IDS) if request_id is None else request_id
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": {**(params or {}), "_meta": _ENVELOPE}}
