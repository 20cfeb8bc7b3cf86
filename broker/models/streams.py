"""Streams of a provider, followed as they pass: passed on event by event, as the bytes that they are.

What ends a stream is held back (`tail`) until the call's end is on record. A provider's own errors go no further than
here, and neither do its comments. What an event is, its own type and members say: texts in it are searched for nothing.
"""

from typing import Any

import msgspec

from broker.connector import Api
from broker.errors import StreamBroken, StreamTruncated
from broker.models import events
from broker.models.answers import Said
from broker.models.troubles import Failure, failure_within

_OVER_EVENTS, _FEW = 2, 16  # a token is one event at most, mostly
_OVER_BYTES_EACH = 8  # of text in those: what is sent letter by letter is in many events, and has few bytes
_OVER_BYTES, _SLACK = 32, 4096  # a token is seldom as many bytes
_NOT_BEGUN = frozenset({"rate_limited", "overloaded"})


class Broken(StreamBroken):
    """The provider has failed in the midst of its answer; what was received is not all of it."""

    def __init__(self, failure: Failure, *, free: bool) -> None:
        super().__init__(detail=f"the provider says in its stream: {failure.code or 'an error'}")
        self.failure = failure
        self.free = free
        """Whether it had not begun, so that nothing is billed."""


class Watch:
    """Follows one stream. `feed` returns what may be passed on now; `end` says whether it was whole."""

    def __init__(self, cap: int, choices: int, *, wants_usage: bool) -> None:
        self.said = Said()
        self.tail = b""
        self.over = False
        """Whether the provider has gone on beyond the output cap, as far as that can be told from what it says."""
        self.events = 0
        self._most = cap * choices
        self._choices = choices
        self._wants_usage = wants_usage
        self._rest = b""
        self._texts, self._bytes = 0, 0
        self._whole = False
        self._broken: StreamBroken | None = None

    @property
    def broken(self) -> bool:
        """Whether the provider has said that it failed: `end` raises what that is."""
        return self._broken is not None

    def feed(self, data: bytes) -> bytes:
        """Take what has come; raise `StreamBroken` where the provider says that it failed."""
        data = self._rest + data if self._rest else data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *found, self._rest = data.split(b"\n\n")
        passed: list[bytes] = []
        try:
            for event in found:
                if (kept := self._event(event.lstrip(b"\n"))) is not None:
                    passed.append(kept)
                if self.over:
                    break
        except StreamBroken as broken:  # what came before it is passed on first
            self._broken = broken
        if self._broken is not None and not passed:
            raise self._broken
        return b"\n\n".join([*passed, b""]) if passed else b""

    def end(self) -> None:
        """Return if the stream was whole; raise `StreamTruncated` if it just stopped."""
        if self._rest.strip():
            self.feed(b"\n\n")
        if self._broken is not None:
            raise self._broken
        if not self._whole:
            raise StreamTruncated(detail=f"the stream stopped after {self.events} events")

    def _event(self, event: bytes) -> bytes | None:
        """Look at one event; return it if it is to be passed on now."""
        if event.startswith(b":"):
            event = b"\n".join(line for line in event.split(b"\n") if not line.startswith(b":"))
        if not event:
            return None
        data = events.data_of(event)
        if data == events.DONE:
            passed = event if self._whole and self._says_done else None
        elif data is None:
            passed = event
        else:
            self.events += 1
            passed = self._look(event, data)
        if self._whole and passed is not None:
            self.tail += passed + b"\n\n"
            return None
        return passed

    _says_done = True
    """Whether streams of this API end in `[DONE]`."""

    def _look(self, event: bytes, data: bytes) -> bytes | None:
        raise NotImplementedError

    def _output(self, size: int) -> None:
        """Count what an event says of the answer: its text alone, whatever stands around it."""
        if size:
            self._texts += 1
            self._bytes += size
            many = self._texts > _OVER_EVENTS * self._most + _FEW and self._bytes > _OVER_BYTES_EACH * self._most
            self.over = many or self._bytes > _OVER_BYTES * self._most + _SLACK

    def cut(self) -> bytes:
        """Return what ends a stream that is cut at the cap as the API has it; nothing where only an error can."""
        return b""

    def _fail(self, error: Any) -> None:
        failure = failure_within(error)
        raise Broken(failure, free=failure.trouble in _NOT_BEGUN and self.events == 1)


class _Chat(Watch):
    _decoder = msgspec.json.Decoder(events.Chunk)
    _first: events.Chunk | None = None

    def __init__(self, cap: int, choices: int, *, wants_usage: bool) -> None:
        super().__init__(cap, choices, wants_usage=wants_usage)
        self._finished: set[int] = set()

    def _look(self, event: bytes, data: bytes) -> bytes | None:
        chunk = events.read(self._decoder, data)
        if chunk.error:
            self._fail(chunk.error)
        self._first = self._first or chunk
        for choice in chunk.choices or ():
            self._output(events.bytes_of_choice(choice.delta))
            if choice.finish_reason:
                self._finish(chunk, choice)
        if chunk.usage:
            if self._whole:  # before, it is not yet all that was used
                self.said = _said(chunk, chunk.usage, self.said.finish)
            if not chunk.choices and not self._wants_usage:
                return None
        return event

    def _finish(self, chunk: events.Chunk, choice: events.Choice) -> None:
        if choice.finish_reason == "error":
            self._fail({})
        self._finished.add(choice.index if isinstance(choice.index, int) else 0)
        self.said = _said(chunk, self.said.usage, str(choice.finish_reason))
        self._whole = len(self._finished) >= self._choices

    def cut(self) -> bytes:
        """End it as a provider does that keeps to the cap."""
        first = self._first or events.Chunk()
        head = {"id": first.id, "object": "chat.completion.chunk", "created": first.created, "model": first.model}
        choices = [{"index": number, "delta": {}, "finish_reason": "length"} for number in range(self._choices)]
        return b"data: " + msgspec.json.encode({**head, "choices": choices}) + b"\n\ndata: [DONE]\n\n"


class _Messages(Watch):
    _decoder = msgspec.json.Decoder(events.MessageEvent)
    _says_done = False
    _begun: Any = None

    def _look(self, event: bytes, data: bytes) -> bytes | None:
        value = events.read(self._decoder, data)
        match value.type or events.kind_of(event):
            case "content_block_delta":
                self._output(events.bytes_of_block(value.delta))
            case "message_start" if value.message is not None:
                self._begun = value.message.usage
                self.said = _said(value.message, None, None)
            case "message_delta":  # it says that the answer is at its end
                self._finish(value)
                self.tail += event + b"\n\n"
                return None
            case "message_stop":
                self._whole = self.said.finish is not None
            case "error":
                self._fail(value.error)
        return event

    def _finish(self, value: events.MessageEvent) -> None:
        said = _present(value.usage)
        usage = {**_present(self._begun), **said} if "output_tokens" in said else None  # else it is the beginning's
        finish = value.delta.get("stop_reason") if isinstance(value.delta, dict) else None
        self.said = Said(usage, self.said.model, self.said.provider, finish and str(finish)[:40])


class _Responses(Watch):
    _decoder = msgspec.json.Decoder(events.ResponseEvent)

    def _look(self, event: bytes, data: bytes) -> bytes | None:
        value = events.read(self._decoder, data)
        kind = value.type or events.kind_of(event)
        response = value.response or events.Response()
        if kind.endswith(".delta"):
            if "summary" not in kind:  # it is no output, but tells of it
                self._output(events.bytes_in(value.delta))
        elif kind in {"response.completed", "response.incomplete"}:
            self.said = _said(response, response.usage, str(response.status))
            self._whole = True
        elif kind in {"response.failed", "error"} or value.error:
            self._fail(response.error or value.error or {"code": value.code})
        return event


_WATCHES: dict[Api, type[Watch]] = {"chat": _Chat, "messages": _Messages, "responses": _Responses}


def watch(api: Api, cap: int, choices: int, *, wants_usage: bool) -> Watch:
    """Return what follows a stream of an API."""
    return _WATCHES[api](cap, choices, wants_usage=wants_usage)


def _said(value: events.Chunk | events.Message | events.Response, usage: Any, finish: str | None) -> Said:
    model, provider = value.model, value.provider
    return Said(
        usage,
        model[:100] if isinstance(model, str) else None,
        provider[:100] if isinstance(provider, str) else None,
        finish and finish[:40],
    )


def _present(usage: Any) -> dict[str, Any]:
    return {name: one for name, one in usage.items() if one is not None} if isinstance(usage, dict) else {}
