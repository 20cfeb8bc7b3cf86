"""A library of books: a service that nobody here wrote a connector for, and the description that it shows of itself.

It behaves: it keeps what is written, knows a repeated POST by its key, pages by number, token and link, and says 401 to
whoever has no key. What a test wants to know of a request, `asked` has.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind

KEY = "CANARY-library-key-0123456789abcdef"
_PAGE = 4


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes
    raw: str = field(default="")
    """Path and query as they were written."""


class Library:
    """Serves for the length of a `with` block, under `url`; books are `b1` to `b10` at first."""

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        self.authority = authority.certificate_file.read_text()
        self.description: Any
        self.public = True
        """Whether the description is shown to whoever has no key."""
        self.asked: list[Asked] = []
        self.keyed: dict[str, dict[str, Any]] = {}
        self.answers: Any = None
        """What every call is answered, instead of what it asks for: `(status, headers, body)`."""
        self.start()
        routes = [
            Route("/openapi.json", self._describe),
            Route("/v2/books", self._books, methods=["GET", "POST"]),
            Route("/v2/books/{id}", self._book, methods=["GET", "PATCH", "PUT", "DELETE"]),
            Route("/v2/books/{id}/loans", self._loans),
            Route("/v2/events", self._events),
            Route("/v2/{rest:path}", self._anything, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]
        self._server = LoopbackServer(Starlette(routes=routes), authority.issue("library"), listener)

    def start(self) -> None:
        """Put every book back on its shelf, and describe the library as it is."""
        self.description = json.loads(json.dumps(DESCRIPTION))
        self.books = {f"b{number}": _book(number) for number in range(1, 11)}
        self.asked.clear()
        self.keyed.clear()
        self.answers = None

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    async def _describe(self, request: Request) -> Response:
        refused = None if self.public else await self._admitted(request)
        return refused or JSONResponse(self.description)

    async def _admitted(self, request: Request) -> Response | None:
        """Note a request; answer it at once where it has no key, or where a test says what the answer is."""
        query = request.url.query
        raw = request.scope["raw_path"].decode() + (f"?{query}" if query else "")
        body = await request.body()
        asked = Asked(request.method, request.url.path, parse_qsl(query), dict(request.headers), body, raw)
        self.asked.append(asked)
        if request.headers.get("x-library-key") != KEY:
            return JSONResponse({"error": "who are you?"}, status_code=401)
        if self.answers is not None:
            status, headers, content = self.answers
            return Response(content, status, {"content-type": "application/json", **headers})
        return None

    async def _books(self, request: Request) -> Response:
        if (refused := await self._admitted(request)) is not None:
            return refused
        if request.method == "POST":
            return self._created(request, json.loads(self.asked[-1].body))
        page, size = (int(request.query_params.get(name, default)) for name, default in (("page", 1), ("per_page", 3)))
        size = min(size, _PAGE)
        every = list(self.books.values())
        shown = every[(page - 1) * size : page * size]
        return JSONResponse({"total": len(every), "books": shown, "secret": "of the house"})

    def _created(self, request: Request, book: dict[str, Any]) -> Response:
        key = request.headers.get("idempotency-key")
        if key in self.keyed:
            return JSONResponse(self.keyed[key], status_code=201)
        name = f"b{len(self.books) + 1}"
        self.books[name] = {"id": name, "author": {"name": "?", "salary": 1}, "price": 1.5, "shelf": "x", **book}
        if key:
            self.keyed[key] = self.books[name]
        return JSONResponse(self.books[name], status_code=201)

    async def _book(self, request: Request) -> Response:
        if (refused := await self._admitted(request)) is not None:
            return refused
        name = request.path_params["id"]
        if name not in self.books:
            return JSONResponse({"error": f"no book {name}, said the librarian"}, status_code=404)
        if request.method == "DELETE":
            del self.books[name]
            return Response(status_code=204)
        if request.method in {"PATCH", "PUT"}:
            self.books[name] |= json.loads(self.asked[-1].body)
        return JSONResponse(self.books[name])

    async def _loans(self, request: Request) -> Response:
        """Answer in pages that are linked to, on another host as a proxy would have it."""
        if (refused := await self._admitted(request)) is not None:
            return refused
        start = int(request.query_params.get("from", "0"))
        loans = [{"id": number, "reader": f"r{number}"} for number in range(7)][start : start + 3]
        headers = {"link": f'<https://inside.example/elsewhere?from={start + 3}>; rel="next"'} if start + 3 < 7 else {}
        return JSONResponse(loans, headers=headers)

    async def _events(self, request: Request) -> Response:
        if (refused := await self._admitted(request)) is not None:
            return refused
        start = int(request.query_params.get("cursor", "0"))
        events = [{"at": number} for number in range(start, min(start + 2, 5))]
        following = str(start + 2) if start + 2 < 5 else None
        return JSONResponse({"data": events, "meta": {"next_cursor": following}})

    async def _anything(self, request: Request) -> Response:
        return await self._admitted(request) or JSONResponse({"ok": True})


def _book(number: int) -> dict[str, Any]:
    author = {"name": f"Author {number}", "salary": number * 1000}
    return {"id": f"b{number}", "title": f"Book {number}", "author": author, "price": number / 2, "shelf": f"s{number}"}


def _parameter(name: str, place: str, schema: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema, **({"required": True} if place == "path" else {}), **more}


def _answers(schema: Any, status: str = "200") -> dict[str, Any]:
    return {status: {"description": "It is so.", "content": {"application/json": {"schema": schema}}}}


_BOOK = {"$ref": "#/components/schemas/Book"}
_TEXT = {"type": "string"}
_ID = _parameter("id", "path", _TEXT)
_WRITES = {"required": True, "content": {"application/json": {"schema": _BOOK}}}

DESCRIPTION = {
    "openapi": "3.0.3",
    "info": {"title": "Library", "version": "2"},
    "servers": [{"url": "https://library.example/v2"}],
    "security": [{"key": []}],
    "paths": {
        "/books": {
            "get": {
                "operationId": "listBooks",
                "summary": "List the books.",
                "tags": ["books"],
                "parameters": [
                    _parameter("page", "query", {"type": "integer", "minimum": 1, "default": 1}),
                    _parameter("per_page", "query", {"type": "integer", "maximum": _PAGE}),
                    _parameter("genre", "query", {"type": "array", "items": _TEXT}, explode=False),
                ],
                "responses": _answers(
                    {
                        "type": "object",
                        "properties": {"total": {"type": "integer"}, "books": {"type": "array", "items": _BOOK}},
                    }
                ),
            },
            "post": {
                "operationId": "addBook",
                "summary": "Add a book.",
                "tags": ["books"],
                "parameters": [_parameter("Idempotency-Key", "header", _TEXT)],
                "requestBody": _WRITES,
                "responses": _answers(_BOOK, "201"),
            },
        },
        "/books/{id}": {
            "parameters": [_ID],
            "get": {"operationId": "getBook", "tags": ["books"], "responses": _answers(_BOOK)},
            "patch": {
                "operationId": "changeBook",
                "tags": ["books"],
                "requestBody": _WRITES,
                "responses": _answers(_BOOK),
            },
            "put": {
                "operationId": "putBook",
                "tags": ["books"],
                "requestBody": _WRITES,
                "responses": _answers(_BOOK),
            },
            "delete": {"operationId": "dropBook", "tags": ["books"], "responses": {"204": {"description": "Gone."}}},
        },
        "/books/{id}/loans": {
            "parameters": [_ID],
            "get": {
                "operationId": "listLoans",
                "tags": ["loans"],
                "responses": {
                    "200": {
                        "description": "Loans.",
                        "headers": {"Link": {"schema": _TEXT}},
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "array",
                                    "items": {"type": "object", "properties": {"id": {"type": "integer"}}},
                                }
                            }
                        },
                    }
                },
            },
        },
        "/books/{id}/lend": {
            "post": {
                "operationId": "lendBook",
                "tags": ["loans"],
                "parameters": [_ID],
                "responses": _answers({"type": "object", "properties": {"ok": {"type": "boolean"}}}),
            }
        },
        "/events": {
            "get": {
                "operationId": "listEvents",
                "tags": ["events"],
                "security": [{"login": ["events.read", "books.read"]}, {"login": ["events.read"]}],
                "parameters": [_parameter("cursor", "query", _TEXT)],
                "responses": _answers(
                    {
                        "type": "object",
                        "properties": {
                            "data": {
                                "type": "array",
                                "items": {"type": "object", "properties": {"at": {"type": "integer"}}},
                            },
                            "meta": {"type": "object", "properties": {"next_cursor": {"type": "string"}}},
                        },
                    }
                ),
            }
        },
    },
    "components": {
        "schemas": {
            "Book": {
                "type": "object",
                "required": ["title"],
                "properties": {
                    "id": {"type": "string", "readOnly": True},
                    "title": {"type": "string", "minLength": 1},
                    "subtitle": {"type": "string", "nullable": True},
                    "author": {"allOf": [{"$ref": "#/components/schemas/Person"}]},
                    "price": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                    "password": {"type": "string", "writeOnly": True},
                    "sequels": {"type": "array", "items": _BOOK},
                },
            },
            "Person": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": "X-Library-Key"},
            "login": {
                "type": "oauth2",
                "flows": {
                    "authorizationCode": {
                        "authorizationUrl": "https://library.example/authorize",
                        "tokenUrl": "https://library.example/token",
                        "scopes": {"events.read": "See what happens."},
                    }
                },
            },
        },
    },
}
