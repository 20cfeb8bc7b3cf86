"""A service on loopback, over TLS and in the test's own event loop, that says byte for byte what a test wants said."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from broker.testing.certificates import ServerCertificate
from broker.testing.server import bind


@dataclass(eq=False)
class Exchange:
    """One request as it arrived (header names in lower case), and the means to answer it."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    over: bool = False

    async def answer(self, status: int = 200, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> None:
        """Send a whole response."""
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.send(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body)

    async def send(self, data: bytes) -> None:
        """Send these bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def until_the_client_leaves(self) -> None:
        """Say nothing more, and return once the client has closed the connection."""
        await self._reader.read()
        self.over = True

    def drop(self) -> None:
        """Cut the connection."""
        self.over = True
        self._writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


@dataclass(eq=False)
class Upstream:
    """A running service: what it has received, and whether its client has left in the midst of an exchange."""

    url: str
    received: list[Exchange] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0

    @property
    def host(self) -> str:
        """Its host and port."""
        return self.url.removeprefix("https://")


@contextlib.asynccontextmanager
async def serving(certificate: ServerCertificate, script: Script) -> AsyncIterator[Upstream]:
    """Serve on 127.0.0.1; `script` is run for each request."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate_file, certificate.key_file)
    listener = bind(0)
    upstream = Upstream(f"https://127.0.0.1:{listener.getsockname()[1]}")
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        try:
            while exchange := await _receive(reader, writer):
                upstream.received.append(exchange)
                upstream.arrived.set()
                await script(exchange)
                if exchange.over:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accept, sock=listener, ssl=context)
    try:
        yield upstream
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, target, headers, body, reader, writer)
