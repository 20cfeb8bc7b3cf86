"""A small service whose effects are counted, and its connector; a test may say what one of the tools does."""

import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from broker.connector import Connector, ConnectorDocument, Endpoints, Response, Session, Tool, ToolCall, errors
from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind

TOKEN = "CANARY-0123456789-abcdefghijklmnopqrstuvwxyz"
ID = {"type": "string", "minLength": 1, "maxLength": 300_000}
INPUT = {"type": "object", "properties": {"id": ID}, "required": ["id"], "additionalProperties": False}
ANYTHING = {"type": "object"}
NOTE = {"id": {"type": "string"}, "text": {"type": "string"}, "owner": {"type": "string"}}
OUTPUT = {"type": "object", "properties": {"id": NOTE["id"], "text": NOTE["text"]}}
LIST_INPUT = {
    "type": "object",
    "properties": {
        "fields": {"type": "array", "items": {"enum": list(NOTE)}},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100},
    },
    "additionalProperties": False,
}
LIST_OUTPUT = {
    "type": "object",
    "properties": {"notes": {"type": "array", "items": {"type": "object", "properties": NOTE}}},
}
FILTERABLE = frozenset({"id", "owner"})
JANE, JOHN = "jane@example.com", "john@example.com"


class NotesService:
    """Issues one token, answers every GET with a note and counts every POST as an effect.

    It can hold its answers back, and notices clients that leave meanwhile.
    """

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        self.authority = authority.certificate_file.read_text()
        self.effects: list[str] = []
        """The ids of what was written, in order."""
        self.owners: dict[str, str] = {"n1": JANE, "n2": JOHN, "n3": JANE}
        """Whose each note is; a note that is not among them is Jane's."""
        self.asked: list[dict[str, str]] = []
        """What each GET of notes was narrowed to."""
        self.arrived: queue.Queue[str] = queue.Queue()
        """The path of every request that is being held."""
        self.left = threading.Event()
        """Set when a client has left before its answer."""
        self._free = threading.Event()
        self._free.set()
        self._server = LoopbackServer(self._answer, authority.issue("notes"), listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._free.set()
        self._server.__exit__(None, None, None)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Hold every answer while inside."""
        self.left.clear()
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()
            with contextlib.suppress(queue.Empty):
                while True:
                    self.arrived.get_nowait()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        answer: dict[str, Any] = self._note(scope["path"].rpartition("/")[2])
        status = 200
        if scope["path"] == "/token":
            answer = {"access_token": TOKEN, "token_type": "Bearer", "scope": "notes"}
        elif scope["method"] == "POST":
            answer["id"] = json.loads(body)["id"]
            self.effects.append(answer["id"])
        else:
            status, answer = self._found(scope)
        if scope["path"] != "/token" and not self._free.is_set() and not await self._held(scope["path"], receive):
            return
        text = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    def _note(self, name: str) -> dict[str, Any]:
        return {"id": name, "text": "Revenue grew.", "owner": self.owners.get(name, JANE), "internal": "x"}

    def _found(self, scope: Scope) -> tuple[int, dict[str, Any]]:
        """Answer with one note, or a list of them, of which all that is asked must be true."""
        asked = dict(parse_qsl(scope["query_string"].decode()))
        self.asked.append(asked)
        wanted = json.loads(asked.get("where", "[]"))
        name = scope["path"].removeprefix("/notes").strip("/")
        notes = [self._note(one) for one in ([name] if name else self.owners)]
        notes = [note for note in notes if all(note[field] in values for field, values in wanted)]
        if name:
            return (200, notes[0]) if notes else (404, {})
        return 200, {"notes": notes[: int(asked.get("limit", "100"))]}

    async def _held(self, path: str, receive: Receive) -> bool:
        """Wait until answers are free again; False if the client leaves before that."""
        self.arrived.put(path)
        leaving = asyncio.ensure_future(receive())
        try:
            while not self._free.is_set():
                await asyncio.wait([leaving], timeout=0.005)
                if leaving.done():
                    self.left.set()
                    return False
            return True
        finally:
            leaving.cancel()


async def read(call: ToolCall, session: Session) -> Any:
    """Read one note."""
    response = await session.call("GET", "/notes/{id}", query=narrowed(call), id=call.arguments["id"])
    if response.status == 404:
        raise errors.UpstreamNotFound
    return response.json()


async def list_notes(call: ToolCall, session: Session) -> Any:
    """List notes: no more than the scope allows, and none but those that it lets be seen."""
    return (await session.call("GET", "/notes", query=narrowed(call))).json()


def narrowed(call: ToolCall) -> dict[str, str]:
    """Say a call's scope in the service's words: it is asked for nothing else."""
    query: dict[str, str] = {}
    limits = [most for most in (call.arguments.get("limit"), call.scope.records) if most is not None]
    if limits and "id" not in call.arguments:
        query["limit"] = str(min(limits))
    if call.scope.filters:
        where = [[one.field, one.value if one.operator == "in" else [one.value]] for one in call.scope.filters]
        query["where"] = json.dumps(where)
    return query


async def write(call: ToolCall, session: Session) -> Any:
    """Write one note: an effect."""
    return (await session.call("POST", "/notes", json={"id": call.arguments["id"]})).json()


async def unwilling(_call: ToolCall, _session: Session) -> Any:
    """Refuse to be run: it stands for a tool that no call may reach."""
    raise AssertionError("a call got past the policy")


async def probe(session: Session, _document: ConnectorDocument) -> str:
    """Read the first note."""
    return str((await session.call("GET", "/notes/first")).json()["text"])


async def describe(session: Session, document: ConnectorDocument) -> Any:
    """Tell which notes there are."""
    first = (await session.call("GET", "/notes/first")).json()
    return {"resources": sorted(document.resources), "first": first["text"]}


def expired(response: Response) -> bool:
    """Tell whether the token has expired."""
    return response.status == 401


class Notes:
    """The connector. A test says what its tool `misbehave`, its probe and its description do."""

    def __init__(self) -> None:
        self.behave()
        self.connector = Connector(
            name="notes",
            hosts=(),
            endpoints=Endpoints("https://127.0.0.1/token"),
            grant="jwt-bearer",
            tools=self._tools,
            expired=expired,
            probe=self._probe,
            describe=self._describe,
        )

    def behave(self) -> None:
        """Do again what a connector does."""
        self.behaves: Any = read
        self.probes: Any = probe
        self.describes: Any = describe

    def find(self, _name: str) -> Connector:
        """Return the connector, as `Options.find` asks for it."""
        return self.connector

    async def _misbehave(self, call: ToolCall, session: Session) -> Any:
        return await self.behaves(call, session)

    async def _probe(self, session: Session, document: ConnectorDocument) -> str:
        return str(await self.probes(session, document))

    async def _describe(self, session: Session, document: ConnectorDocument) -> Any:
        return await self.describes(session, document)

    def _tools(self, document: ConnectorDocument, _snapshot: Any) -> list[Tool]:
        return [
            tool
            for resource in document.resources
            for tool in (
                Tool(
                    resource,
                    "read",
                    "Read a note.",
                    INPUT,
                    OUTPUT,
                    reads_only=True,
                    run=read,
                    filterable=FILTERABLE,
                    records="",
                ),
                Tool(
                    resource,
                    "list",
                    "List notes.",
                    LIST_INPUT,
                    LIST_OUTPUT,
                    reads_only=True,
                    run=list_notes,
                    filterable=FILTERABLE,
                    records="notes",
                ),
                Tool(resource, "write", "Write a note.", INPUT, OUTPUT, reads_only=False, run=write),
                Tool(resource, "misbehave", "Obey the test.", ANYTHING, OUTPUT, reads_only=False, run=self._misbehave),
                Tool(resource, "purge", "Delete every note.", INPUT, OUTPUT, reads_only=False, run=unwilling),
                Tool(resource, "archive", "Archive a note.", INPUT, OUTPUT, reads_only=False),
            )
        ]
