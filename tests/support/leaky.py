"""A service that repeats its caller's credential in a different way for each number, and a connector that helps it.

A trick's number decides everything: which piece of the credential, in which encoding, where in the answer, how the
answer is sent, and what the connector then does with it. So a number that got something out can be tried again.
"""

import base64
import gzip
import html
import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from broker.connector import Connector, ConnectorDocument, Endpoints, Response, Session, Tool, ToolCall, errors
from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind

TOKEN = "Zt8qW3nKe5Yb_R1vXs7-Lp2MhCd4Jf.G6uTo9Ai0BxEwNrHkSg~Vy/DzQjPcUl+Fm"
KEY = "k3y-Qa7Ws2Ed9Rf4Tg6Yh1Uj8Ik5Ol0Pz"
PASSWORD = "Xv3-Nb8m,Lq6;Wt2"
ANY = {"type": "object", "properties": {"data": {"type": "object", "additionalProperties": {}}}}
STATUSES = (200, 200, 200, 200, 201, 400, 401, 403, 404, 409, 422, 429, 500, 503)
ENCODINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "bearer": "Bearer {}".format,
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "shifted": lambda text: base64.b64encode(b"x" + text.encode() + b"yy").decode(),
    "basic": lambda text: "Basic " + base64.b64encode(f"user:{text}".encode()).decode(),
    "url": lambda text: quote(text, safe=""),
    "url, all": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "html": html.escape,
    "html, all": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "json": lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    "json twice": lambda text: json.dumps("".join(f"\\u{ord(one):04x}" for one in text)),
    "dumped": lambda text: json.dumps(json.dumps({"token": text})),
}


class Trick:
    """What happens under one number."""

    def __init__(self, number: int) -> None:
        dice = random.Random(number)  # noqa: S311 - the same for the same number
        self.whole = dice.random() < 0.3
        self.place = dice.random()
        self.length = dice.randint(12, 24)
        self.encoding = dice.choice(sorted(ENCODINGS))
        self.container = dice.choice(["value", "key", "list", "deep", "text", "page", "halves", "escaped", "many"])
        self.status = dice.choice(STATUSES)
        self.sent = dice.choice(["plain", "chunked", "gzip", "deflate", "redirect", "headers", "gzip in gzip"])
        self.connector = dice.choice(["data", "data", "data", "headers", "message", "detail", "raise", "progress"])
        self.chunk = dice.randint(1, 9)

    def piece(self, credential: str) -> str:
        """Return what of the credential is repeated, encoded: twelve bytes at least, so that any cut leaves eight."""
        secret = credential.removeprefix("Bearer ")
        start = 0 if self.whole else int(self.place * max(1, len(secret) - self.length))
        return ENCODINGS[self.encoding](secret if self.whole else secret[start : start + self.length])

    def body(self, piece: str) -> bytes:
        """Return the answer's body."""
        some = "ordinary words of a result"
        values: dict[str, Any] = {
            "value": {"note": f"{some} {piece} {some}"},
            "key": {f"{some} {piece}": 1},
            "list": [some, [piece, [some]]],
            "deep": {"a": [{"b": {"c": [{"d": piece}]}}]},
            "halves": {"a": piece[: len(piece) // 2], "b": piece[len(piece) // 2 :]} if self.whole else {"a": piece},
            "many": {f"field{number}": f"{piece}{number}" for number in range(5)},
        }
        if self.container == "text":
            return f"{some}: {piece}".encode()
        if self.container == "page":
            return f"<html><h1>Error</h1><pre>{piece}</pre>".encode()
        if self.container == "escaped":
            escaped = "".join(f"\\u{ord(one):04X}" for one in piece)
            return f'{{"note": "{escaped}"}}'.encode()
        return json.dumps(values[self.container]).encode()


class LeakyService:
    """Serves for the length of a `with` block."""

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        self.authority = authority.certificate_file.read_text()
        self.repeated = 0
        """How often a credential was repeated."""
        self._server = LoopbackServer(self._answer, authority.issue("leaky"), listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if scope["path"] == "/token":
            answer = {"access_token": TOKEN, "token_type": "Bearer", "scope": "leaky"}
            await _send(send, 200, {"content-type": "application/json"}, [json.dumps(answer).encode()])
            return
        self.repeated += 1
        trick = Trick(int(scope["path"].rpartition("/")[2]))
        piece = trick.piece(headers.get("x-api-key") or headers["authorization"])
        await self._tell(send, trick, piece)

    async def _tell(self, send: Send, trick: Trick, piece: str) -> None:
        body = trick.body(piece)
        plain = "".join(one if one.isprintable() and one.isascii() else "?" for one in piece)
        headers = {"content-type": "application/json"}
        if trick.sent in {"redirect", "headers"}:
            headers |= {"location": f"https://x.example/{plain}", "etag": plain, "link": f"<https://x/{plain}>"}
            headers |= {"set-cookie": f"sid={plain}", "www-authenticate": plain, "retry-after": plain}
        if trick.sent in {"gzip", "gzip in gzip"}:
            headers["content-encoding"] = "gzip"
            body = gzip.compress(gzip.compress(body) if trick.sent == "gzip in gzip" else body)
        if trick.sent == "deflate":
            headers["content-encoding"] = "deflate"
            body = zlib.compress(body)
        size = trick.chunk if trick.sent == "chunked" else len(body)
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        await _send(send, 302 if trick.sent == "redirect" else trick.status, headers, chunks)


async def _send(send: Send, status: int, headers: dict[str, str], chunks: list[bytes]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def repeat(call: ToolCall, session: Session) -> Any:
    """Ask for a trick, and hand on all that came, as carelessly as the number says."""
    trick = Trick(int(call.arguments["number"]))
    response = await session.call("GET", "/tricks/{number}", number=str(call.arguments["number"]))
    text = response.body.decode("utf-8", "replace")
    if trick.connector == "message":
        raise errors.UpstreamRejected(f"The service said: {text} {dict(response.headers)}")
    if trick.connector == "detail":
        raise errors.UpstreamFailed(detail=text)
    if trick.connector == "raise":
        raise RuntimeError(text)
    if trick.connector == "progress":
        await call.emit(1, 2)
    try:
        body = json.loads(text)
    except ValueError:
        body = text
    return {"data": {"status": response.status, "body": body, "headers": dict(response.headers)}}


def _tools(document: ConnectorDocument, _snapshot: Any) -> list[Tool]:
    schema = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
    return [Tool(name, "read", "Repeat.", schema, ANY, reads_only=True, run=repeat) for name in document.resources]


async def _probe(session: Session, _document: ConnectorDocument) -> str:
    return (await session.call("GET", "/tricks/1")).body.decode("utf-8", "replace")


def _expired(response: Response) -> bool:
    return response.status == 401


LEAKY = Connector(
    name="leaky",
    hosts=(),
    endpoints=Endpoints("https://127.0.0.1/token"),
    grant="client-credentials",
    tools=_tools,
    expired=_expired,
    probe=_probe,
    further_grants=("api-key", "basic"),
)
