"""Faults on purpose: what the service does to the next requests instead of answering them well.

A fault waits for requests whose path it matches, and takes `times` of them. `Delay` and `Gzip` let the request go
on, to the next fault that matches or to the service, so that they combine with the others.
"""

import json
import re
import threading
import zlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, ClassVar, Final

import anyio
from msgspec import Struct, field
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CHUNK: Final = b" " * 65_536


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower):
    """What all faults say: the path as a regular expression to search for, the method if only one, how many."""

    passes_on: ClassVar[bool] = False
    path: str
    method: str | None = None
    times: int = 1

    def __post_init__(self) -> None:
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"The path of a fault is a regular expression: {error}") from None

    def matches(self, scope: Scope) -> bool:
        """Say whether this request is one it waits for."""
        return self.method in {None, scope["method"]} and re.search(self.path, scope["path"]) is not None

    async def play(self, _app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Do it to this request; the application is what would have answered."""
        await self.answer(Request(scope))(scope, receive, send)

    def answer(self, request: Request) -> Response:
        """Make the answer of a fault that answers in the service's place."""
        raise NotImplementedError


class Answer(Fault, frozen=True, kw_only=True):
    """This status and body: a text is sent as it is, anything else as JSON."""

    status: int
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, _: Request) -> Response:
        """Say it."""
        content = self.body if isinstance(self.body, str) else json.dumps(self.body)
        response = Response(content, self.status, media_type="application/json;charset=UTF-8")
        response.headers.update(self.headers)
        return response


class Malformed(Fault, frozen=True, kw_only=True):
    """Status 200, declared as JSON, and cut in the middle of a record."""

    def answer(self, _: Request) -> Response:
        """Send half a page."""
        return Response('{"totalSize": 1, "done": true, "records": [{"Id": "001', media_type="application/json")


class Delay(Fault, frozen=True, kw_only=True):
    """The answer comes, but later; the request is carried out even if its client has gone by then."""

    passes_on: ClassVar[bool] = True
    seconds: float

    async def play(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then pass the request on."""
        body = [await Request(scope, receive).body()]

        async def replay() -> Message:
            if body:
                return {"type": "http.request", "body": body.pop(), "more_body": False}
            return await receive()

        await anyio.sleep(self.seconds)
        await app(scope, replay, send)


class Drop(Fault, frozen=True, kw_only=True):
    """The connection is cut before a byte of the answer."""

    async def play(self, _app: ASGIApp, scope: Scope, receive: Receive, _send: Send) -> None:
        """Cut it, and stay until it is gone: an application that returned early would be answered for."""
        scope["state"]["transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class Lose(Fault, frozen=True, kw_only=True):
    """The request is carried out, and the connection is cut before a byte of the answer."""

    async def play(self, app: ASGIApp, scope: Scope, receive: Receive, _send: Send) -> None:
        """Let it be carried out, then cut the connection."""

        async def discard(_: Message) -> None:
            pass

        await app(scope, receive, discard)
        scope["state"]["transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class Flood(Fault, frozen=True, kw_only=True):
    """Status 200 and blanks before the JSON: `size` bytes of them, or for as long as the client listens."""

    size: int | None = None

    def answer(self, _: Request) -> Response:
        """Pour."""
        return StreamingResponse(self._pour(), media_type="application/json")

    async def _pour(self) -> AsyncIterator[bytes]:
        left = self.size
        while left is None or left > 0:
            chunk = _CHUNK if left is None else _CHUNK[:left]
            left = left if left is None else left - len(chunk)
            yield chunk
            await anyio.lowlevel.checkpoint()
        yield b"{}"


class Redirect(Fault, frozen=True, kw_only=True):
    """The client is sent elsewhere, perhaps to another host."""

    location: str
    status: int = 302

    def answer(self, _: Request) -> Response:
        """Point there."""
        return RedirectResponse(self.location, self.status)


class Echo(Fault, frozen=True, kw_only=True):
    """The request's `Authorization` comes back, in a header and in the body.

    Below 400 the body is a record and a page of one record, both with the value in `Name` and `Description`; from
    400 on it is an error message.
    """

    status: int = 200

    def answer(self, request: Request) -> Response:
        """Repeat it."""
        value = request.headers.get("authorization", "")
        record = {"attributes": {"type": "Account", "url": value}, "Name": value, "Description": value}
        page: Any = record | {"totalSize": 1, "done": True, "records": [record]}
        error = [{"message": f"Not accepted: {value}", "errorCode": "UNKNOWN_EXCEPTION"}]
        body = page if self.status < 400 else error
        return JSONResponse(body, self.status, {"X-Authorization": value})


class Gzip(Fault, frozen=True, kw_only=True):
    """The answer is compressed, whether the client accepts that or not; over a Flood it is a bomb."""

    passes_on: ClassVar[bool] = True

    async def play(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and compress what comes back."""
        compressor = zlib.compressobj(wbits=31)

        async def compress(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name != b"content-length"]
                message = {**message, "headers": [*kept, (b"content-encoding", b"gzip")]}
            if message["type"] == "http.response.body":
                body = compressor.compress(message.get("body", b""))
                if not message.get("more_body", False):
                    body += compressor.flush()
                message = {**message, "body": body}
            await send(message)

        await app(scope, receive, compress)


AnyFault = Answer | Malformed | Delay | Drop | Lose | Flood | Redirect | Echo | Gzip


class Faults:
    """The faults that wait, in the order they were added. Safe to use from another thread."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Let a fault wait for its requests."""
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        """Forget every fault that still waits."""
        with self._lock:
            self._waiting.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Play what waits for this request, up to the first fault that answers; else let the service answer."""
        app = self._app
        for fault in reversed(self._take(scope)):
            app = partial(fault.play, app)
        await app(scope, receive, send)

    def _take(self, scope: Scope) -> list[Fault]:
        taken: list[Fault] = []
        left: list[Fault] = []
        with self._lock:
            for fault in self._waiting:
                if (not taken or taken[-1].passes_on) and fault.matches(scope):
                    taken.append(fault)
                    left += [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                else:
                    left.append(fault)
            self._waiting = left
        return taken
