"""One answer on its way: whole, or event by event with keep-alives between them; an error in the API's own shape."""

import asyncio

from starlette.types import Scope, Send

from broker.doors.models.shapes import Shape, body_of, event_of, headers_of, kind_of, named
from broker.errors import Refusal
from broker.pipeline import ModelAnswer

_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_NO_STORE = (b"cache-control", b"no-store")
_UNBUFFERED = (b"x-accel-buffering", b"no")
_KEEP_ALIVE = b": keep-alive\n\n"  # a comment, which every client of server-sent events leaves out
_NANO = 10**9
SILENCE = 15.0
"""Seconds after which a comment is sent where nothing else was."""


class Headers:
    """A request's headers."""

    def __init__(self, scope: Scope) -> None:
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        key = name.encode()
        return [value.decode("latin-1") for one, value in self._headers if one == key]

    def get(self, name: str) -> str | None:
        """Return a header that stands there once; None if it does not."""
        found = self.all(name)
        return found[0] if len(found) == 1 else None


class Answering:
    """Sends one answer. After `passing` was called, it is a stream."""

    def __init__(self, send: Send, shape: Shape) -> None:
        self.shape: Shape = shape
        self.call_id: str | None = None
        """What the call is on record as, once there is one."""
        self._send = send
        self._begun = False
        self._ended = False
        self._beat: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None
        self._quiet = True

    @property
    def begun(self) -> bool:
        """Whether anything has been sent."""
        return self._begun

    def stays_alive(self) -> None:
        """Have comments sent while nothing else is: for a stream, whose reader may give up on silence."""
        loop = asyncio.get_running_loop()
        self._beat = loop.call_later(SILENCE, self._tick)

    def quiet(self) -> None:
        """Send no more comments, not even one that is on its way: whatever ended the answer, nobody reads on."""
        if self._beat is not None:
            self._beat.cancel()
        if self._beating is not None:
            self._beating.cancel()

    async def passing(self, events: bytes) -> None:
        """Pass on events of a stream."""
        self._quiet = False
        if not self._begun:
            await self._begin(200, [_EVENTS, _NO_STORE, _UNBUFFERED, *self._named()])
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def end(self, answer: ModelAnswer) -> None:
        """Send what an answer ends with: all of it, where it is no stream."""
        await self._settle()
        if not self._begun:
            kind = _EVENTS if answer.stream else _JSON
            headers = [kind, _NO_STORE, *self._named()]
            if answer.cost is not None:
                headers.append((b"x-aam-cost-usd", f"{answer.cost / _NANO:.9f}".encode()))
            if not answer.stream:
                headers.append((b"content-length", str(len(answer.text)).encode()))
            await self._begin(200, headers)
        await self._finish(answer.text)

    async def whole(self, text: bytes) -> None:
        """Send a whole answer that is no model's."""
        await self._begin(200, [_JSON, _NO_STORE, (b"content-length", str(len(text)).encode())])
        await self._finish(text)

    async def refuse(self, refusal: Refusal) -> None:
        """Send a refusal: as the answer, or as the end of a stream that is not whole."""
        await self._settle()
        if self._ended:
            return
        if self._begun:
            await self._finish(event_of(refusal, self.shape))
            return
        text = body_of(refusal, self.shape)
        more = dict(headers_of(refusal))
        fields = [_JSON, _NO_STORE, (b"content-length", str(len(text)).encode())]
        fields += [(name.encode(), value.encode("latin-1", "replace")) for name, value in more.items()]
        await self._begin(kind_of(refusal)[0], fields)
        await self._finish(text)

    def _named(self) -> list[tuple[bytes, bytes]]:
        ids = {} if self.call_id is None else named(self.call_id)
        return [(name.encode(), value.encode()) for name, value in ids.items()]

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _finish(self, text: bytes) -> None:
        self._ended = True
        await self._send({"type": "http.response.body", "body": text, "more_body": False})

    def _tick(self) -> None:
        """Send a comment if nothing was sent since the last tick, and none is still on its way."""
        if self._quiet and (self._beating is None or self._beating.done()):
            self._beating = asyncio.ensure_future(self._comment())
        self._quiet = True
        self.stays_alive()

    async def _comment(self) -> None:
        if not self._begun:
            await self._begin(200, [_EVENTS, _NO_STORE, _UNBUFFERED, *self._named()])
        await self._send({"type": "http.response.body", "body": _KEEP_ALIVE, "more_body": True})

    async def _settle(self) -> None:
        """Send no more comments; one that is on its way arrives whole."""
        if self._beat is not None:
            self._beat.cancel()
        if self._beating is not None:
            await self._beating
