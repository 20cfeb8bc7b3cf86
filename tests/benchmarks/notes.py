"""A small connector on the plain authorised session, and the small service behind it: what is left is the broker."""

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn

from broker.connector import Connector, ConnectorDocument, Endpoints, Response, Session, Tool, ToolCall

_NOTE = {
    "id": "n1",
    "title": "Quarterly report",
    "text": "Revenue grew in every region but one. " * 5,
    "tags": ["finance", "report"],
    "internal": "not declared, so it never leaves",
}
_INPUT = {
    "type": "object",
    "properties": {"id": {"type": "string", "minLength": 1, "maxLength": 40}},
    "required": ["id"],
    "additionalProperties": False,
}
_OUTPUT = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "title": {"type": "string"},
        "text": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}


async def read(call: ToolCall, session: Session) -> Any:
    """Read one note."""
    return (await session.call("GET", "/notes/{id}", id=call.arguments["id"])).json()


async def probe(_session: Session, _document: ConnectorDocument) -> str:
    """Answer without asking anybody."""
    return "there"


def expired(response: Response) -> bool:
    """Tell whether the token has expired."""
    return response.status == 401


def tools(document: ConnectorDocument, _snapshot: Any) -> list[Tool]:
    """Return the one tool of every mapped resource."""
    return [
        Tool(resource, "read", "Read a note.", _INPUT, _OUTPUT, reads_only=True, run=read)
        for resource in document.resources
    ]


NOTES = Connector("notes", (), Endpoints("https://127.0.0.1/token"), "jwt-bearer", tools, expired, probe)


async def service(scope: Any, receive: Any, send: Any) -> None:
    """Issue any token that is asked for, and answer every other request with the note."""
    if scope["type"] != "http":
        return
    answer: dict[str, Any] = _NOTE
    if scope["path"] == "/token":
        answer = {"access_token": "a" * 96, "token_type": "Bearer"}
    while (await receive()).get("more_body"):
        pass
    body = json.dumps(answer).encode()
    length = (b"content-length", str(len(body)).encode())
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"), length]}
    )
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    port, certificate, key = sys.argv[1:]
    uvicorn.run(
        service,
        host="127.0.0.1",
        port=int(port),
        log_level="error",
        lifespan="off",
        ssl_certfile=Path(certificate),
        ssl_keyfile=key,
    )
