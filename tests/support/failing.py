"""A service that fails as the first part of its path says, and a connector that knows the usual answers."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import anyio
from starlette.types import Receive, Scope, Send

from broker.connector import Connector, ConnectorDocument, Endpoints, Session, Tool, ToolCall, checked
from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind
from tests.support.notes import INPUT, OUTPUT, expired

TOKEN = {"access_token": "CANARY-0123456789-abcdefghijklmnopqrstuvwxyz", "token_type": "Bearer"}
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class FailingService:
    """Fails as its paths say: `/STATUS/…`, `/slow/…`, `/drop/…`, `/junk/…`, `/odd/…`; anything else works.

    What a test puts into `answers` comes first, one for each request below that path.
    """

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        self.port = listener.getsockname()[1]
        self.authority = authority.certificate_file.read_text()
        self.asked: list[tuple[str, str]] = []
        """Method and path of every request, in order."""
        self.answers: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
        self._server = LoopbackServer(self._answer, authority.issue("failing"), listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    def count(self, part: str) -> int:
        """Return how many requests came below a path."""
        return sum(path.startswith(f"/{part}/") for _, path in self.asked)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.asked.append((scope["method"], scope["path"]))
        part = scope["path"].split("/")[1]
        if self.answers.get(part):
            status, headers = self.answers[part].pop(0)
            await _say(send, status, b"{}", headers)
        elif part == "slow":
            await anyio.sleep_forever()
        elif part == "drop":
            scope["state"]["transport"].abort()
        else:
            await _say(send, *_usual_answer(part))


def _usual_answer(part: str) -> tuple[int, bytes, Mapping[str, str]]:
    if part == "scope":
        return 403, b"{}", {"www-authenticate": 'Bearer realm="x", error="insufficient_scope"'}
    if part.isdigit():
        return int(part), b'{"message": "SERVICE TEXT"}', {"location": "/elsewhere"}
    if part.startswith("oauth-"):
        return 400, b'{"error": "%s"}' % part.removeprefix("oauth-").encode(), NO_HEADERS
    bodies = {"junk": b"<html>SERVICE TEXT</html>", "odd": b"{}", "token": json.dumps(TOKEN).encode()}
    return 200, bodies.get(part, b'{"id": "n1", "text": "Revenue grew."}'), NO_HEADERS


async def _say(send: Send, status: int, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> None:
    fields = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def read(call: ToolCall, session: Session) -> Any:
    """Read one note."""
    return checked(await session.call("GET", "/notes/{id}", id=call.arguments["id"])).json()


async def write(call: ToolCall, session: Session) -> Any:
    """Write one note."""
    return checked(await session.call("POST", "/notes", json={"id": call.arguments["id"]})).json()


async def probe(session: Session, _document: ConnectorDocument) -> str:
    """Read the first note."""
    return str(checked(await session.call("GET", "/notes/first")).json()["text"])


def tools(document: ConnectorDocument, _snapshot: Any) -> list[Tool]:
    """Read and write each resource."""
    return [
        tool
        for resource in document.resources
        for tool in (
            Tool(resource, "read", "Read a note.", INPUT, OUTPUT, reads_only=True, run=read, records=""),
            Tool(resource, "write", "Write a note.", INPUT, OUTPUT, reads_only=False, run=write),
        )
    ]


CONNECTOR = Connector(
    name="notes",
    hosts=(),
    endpoints=Endpoints("https://127.0.0.1/token"),
    grant="jwt-bearer",
    further_grants=("api-key",),
    tools=tools,
    expired=expired,
    probe=probe,
)


class Failing:
    """Finds the connector under any name, as `Options.find` asks for it."""

    connector = CONNECTOR

    def find(self, _name: str) -> Connector:
        """Return the connector."""
        return self.connector


def connector_documents(service: FailingService, *parts: str, **spec: str) -> str:
    """Return a Connector document for each part of the service, named by it; `spec` has further members, by part."""
    return "---\n".join(
        f"apiVersion: access.envisionai.dev/v1\nkind: Connector\nmetadata: {{name: {_name(part)}}}\nspec:\n"
        f"  {{type: notes, url: '{service.url}/{part}', resources: {{notes: notes}}, "
        f"oauth: {{token_endpoint: '{service.url}/token/', audience: '{service.url}'}}, "
        f"reach: {{private_ranges: [127.0.0.0/8], certificate_authority: failing.pem}}"
        f"{', ' + spec[_name(part)] if _name(part) in spec else ''}}}\n"
        for part in parts
    )


def _name(part: str) -> str:
    return f"s{part}" if part[0].isdigit() else part
