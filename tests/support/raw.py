"""Agents that keep every byte they receive, one for each transport and era."""

import abc
import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from tests.support.clients import AAM, ERAS, MODERN, Era, Reachable, Transport, Wire, request

_PATIENCE = 60.0
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class RawAgent(abc.ABC):
    """Asks, and keeps whatever comes back; `received` is all of it."""

    def __init__(self, broker: Reachable, era: Era) -> None:
        self.broker = broker
        self.era = era
        self.received = b""
        self._number = 0

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Ask for something and wait for what comes."""
        self._number += 1
        plain = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params or {}}
        self.send(request(method, params, self._number) if self.era == MODERN else plain)

    def open(self) -> None:
        """Connect, and shake hands where the era does."""
        if self.era == "legacy":
            self.send(INITIALIZE)
            self.send(INITIALIZED)

    @abc.abstractmethod
    def send(self, message: dict[str, Any]) -> None:
        """Send a message, and wait for the answer to it if it is a request."""

    def close(self) -> None:  # noqa: B027 - not every transport has something to close
        """Leave."""


class RawHttp(RawAgent):
    """Streamable HTTP."""

    _session: str | None = None

    def send(self, message: dict[str, Any]) -> None:
        """Post it."""
        headers: dict[str, str] = {"MCP-Protocol-Version": MODERN if self.era == MODERN else "2025-11-25"}
        if self._session:
            headers["Mcp-Session-Id"] = self._session
        name = message.get("params", {}).get("name")
        response = Wire(self.broker).post(json.dumps(message).encode(), message["method"], name, **headers)
        self._session = self._session or response.headers.get("Mcp-Session-Id")
        self.received += repr(response.headers).encode() + response.content


class RawSse(RawAgent):
    """SSE: a stream that is read, and posts."""

    def open(self) -> None:
        """Open the stream, then shake hands."""
        where = urlsplit(self.broker.url)
        self._connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=_PATIENCE)
        self._connection.request("GET", "/sse", headers=self._headers())
        self._stream = self._connection.getresponse()
        self.endpoint = self.broker.url + self.next()
        super().open()

    def send(self, message: dict[str, Any]) -> None:
        """Post it, and read the stream for what it answers."""
        response = requests.post(self.endpoint, json=message, headers=self._headers(), timeout=_PATIENCE)
        self.received += repr(response.headers).encode() + response.content
        if "id" in message:
            self.next()

    def next(self) -> str:
        """Return what is said next; an empty text once the stream has ended."""
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            for line in self._stream:
                self.received += line
                if line.startswith(b"data:"):
                    return line.removeprefix(b"data:").decode().strip()
        return ""

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
        self._connection.close()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.broker.token()}"}


class RawStdio(RawAgent):
    """The relay, whose stdout and stderr are all that an agent sees."""

    def open(self) -> None:
        """Start it."""
        command = [str(AAM), "stdio", "--socket", self.broker.agents_socket]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        super().open()

    def send(self, message: dict[str, Any]) -> None:
        """Write it, and read a line if there will be one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        if "id" in message:
            self.received += self.process.stdout.readline()

    def close(self) -> None:
        """Close stdin, and keep what is still said."""
        stdout, stderr = self.process.communicate(timeout=_PATIENCE)
        self.received += stdout + stderr


KINDS: dict[Transport, type[RawAgent]] = {"stdio": RawStdio, "sse": RawSse, "streamable-http": RawHttp}


def raw_agents(broker: Reachable) -> Iterator[RawAgent]:
    """Yield an agent for every transport and era."""
    for kind in KINDS.values():
        for era in ERAS:
            yield kind(broker, era)
