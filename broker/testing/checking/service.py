"""A service on loopback that answers as a trial wants it to, and remembers what it was asked."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import anyio
from starlette.types import Receive, Scope, Send

from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind

WORDS = "SERVICE-WORDS-5f1d"
"""What a failing service says; it must not reach an agent."""


@dataclass(frozen=True, slots=True)
class Example:
    """How a tool is tried: its arguments, and the JSON that the service answers with, always or by method and path."""

    answer: Any = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it arrived: the path as it stood in it, not decoded."""

    method: str
    path: str
    query: str
    authorization: str


@dataclass(frozen=True, slots=True)
class Manner:
    """How the service answers: a status and a body, or not at all."""

    status: int = 200
    body: bytes | Callable[[str, str], Any] = b"{}"
    silent: bool = False
    kind: str = "application/json"

    def text(self, method: str, path: str) -> bytes:
        """Return the body of an answer."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body(method, path)).encode()


class AnsweringService:
    """Answers every request in the manner that is set."""

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        self.authority = authority.certificate_file.read_text()
        self.manner = Manner()
        self.asked: list[Asked] = []
        self._server = LoopbackServer(self._answer, authority.issue("service"), listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        path, query = scope["raw_path"].decode(), scope["query_string"].decode()
        self.asked.append(Asked(scope["method"], path, query, headers.get("authorization", "")))
        manner = self.manner
        if manner.silent:
            await anyio.sleep_forever()
        body = manner.text(scope["method"], scope["path"])
        fields = [(b"content-type", manner.kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": manner.status, "headers": fields})
        await send({"type": "http.response.body", "body": body})
