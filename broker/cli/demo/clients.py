"""Real MCP clients over three transports, and every byte that they are sent."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from broker.cli.demo.servers import Servers

TRANSPORTS = ("stdio", "SSE", "Streamable HTTP")


class Received:
    """What the client's side of the wire was sent, byte for byte."""

    def __init__(self, place: Path) -> None:
        self._file = place / "received-by-the-stdio-client"
        self._chunks: list[bytes] = []

    @property
    def bytes(self) -> bytes:
        """All of it."""
        relayed = self._file.read_bytes() if self._file.exists() else b""
        return b"".join(self._chunks) + relayed

    def tee(self, command: list[str]) -> StdioServerParameters:
        """Return how to start a relay so that what it prints is also kept."""
        return StdioServerParameters(
            command="/bin/sh", args=["-c", 'file=$1; shift; "$@" | tee -a "$file"', "sh", str(self._file), *command]
        )

    def http(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        """Return an HTTP client whose answers are kept."""
        return httpx2.AsyncClient(headers=headers, timeout=timeout, auth=auth, transport=_Recording(self._chunks))


class _Recording(httpx2.AsyncHTTPTransport):
    def __init__(self, chunks: list[bytes]) -> None:
        super().__init__()
        self._chunks = chunks

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        self._chunks += [part for pair in response.headers.raw for part in pair]
        response.stream = _RecordedStream(response.stream, self._chunks)  # type: ignore[arg-type]
        return response


class _RecordedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, chunks: list[bytes]) -> None:
        self._stream = stream
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._chunks.append(chunk)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


@contextlib.asynccontextmanager
async def connected(transport: str, servers: Servers, received: Received) -> AsyncIterator[Client]:
    """Connect a client: by the relay with the process as proof, or by HTTP with an SVID."""
    headers = {"Authorization": f"Bearer {servers.svid()}"}
    if transport == "stdio":
        async with Client(received.tee(servers.relay())) as client:
            yield client
    elif transport == "SSE":
        target = sse_client(servers.url + "/sse", headers=headers, httpx_client_factory=received.http)
        async with Client(target) as client:
            yield client
    else:
        async with (
            received.http(headers) as http,
            Client(streamable_http_client(servers.url + "/mcp", http_client=http)) as client,
        ):
            yield client
