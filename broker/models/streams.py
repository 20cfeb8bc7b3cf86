"""Streams of a provider, followed as they pass: passed on event by event, without parsing what is only text.

What ends a stream is held back (`tail`) until the call's end is on record. A provider's own errors go no further than
here, and neither do its comments.
"""

import re
from typing import Any

import msgspec

from broker.connector import Api
from broker.errors import StreamBroken, StreamTruncated
from broker.models.answers import Said
from broker.models.troubles import Failure, failure_of

_USAGE = re.compile(rb'"usage":\s*\{')
_FINISH = re.compile(rb'"finish_reason":\s*"')
_ERROR = re.compile(rb'"error":\s*[{"]')
_OVER_EVENTS, _OVER_BYTES, _SLACK = 2, 32, 4096  # a token is one event at most, and seldom as many bytes
_ANY = msgspec.json.Decoder(msgspec.Raw)
_FEW = 16  # events that are no tokens: roles, beginnings, ends
_OK = 200


class Watch:
    """Follows one stream. `feed` returns what may be passed on now; `end` says whether it was whole."""

    def __init__(self, cap: int, choices: int, *, wants_usage: bool) -> None:
        self.said = Said()
        self.tail = b""
        self.over = False
        """Whether the provider has gone on beyond the output cap."""
        self.events = 0
        self._most = cap * choices
        self._choices = choices
        self._wants_usage = wants_usage
        self._rest = b""
        self._bytes, self._shortest = 0, 1 << 30
        self._whole = False
        self._broken: StreamBroken | None = None

    @property
    def broken(self) -> bool:
        """Whether the provider has said that it failed: `end` raises what that is."""
        return self._broken is not None

    @property
    def text_bytes(self) -> int:
        """About how many bytes of output have passed: what the events are longer than the shortest of them."""
        return max(0, self._bytes - self.events * self._shortest)

    def feed(self, data: bytes) -> bytes:
        """Take what has come; raise `StreamBroken` where the provider says that it failed."""
        data = self._rest + data if self._rest else data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *events, self._rest = data.split(b"\n\n")
        passed: list[bytes] = []
        try:
            for event in events:
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
        if not event or event.startswith(b":"):
            return None
        _check(event)
        self.events += 1
        self._bytes += len(event)
        self._shortest = min(self._shortest, len(event))
        passed = self._look(event)
        if self._whole:
            if passed is not None:
                self.tail += passed + b"\n\n"
            return None
        if self.events > _OVER_EVENTS * self._most + _FEW or self.text_bytes > _OVER_BYTES * self._most + _SLACK:
            self.over = True
        return passed

    def _look(self, event: bytes) -> bytes | None:
        raise NotImplementedError

    def cut(self) -> bytes:
        """Return what ends a stream that is cut at the cap as the API has it; nothing where only an error can."""
        return b""

    def _fail(self, error: Any) -> None:
        failure = failure_of(_OK, {}, msgspec.json.encode({"error": error}))
        raise Broken(failure)


class Broken(StreamBroken):
    """The provider has failed in the midst of its answer; what was received is not all of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(detail=f"the provider says in its stream: {failure.code or 'an error'}")
        self.failure = failure


class _Chat(Watch):
    _finished = 0
    _first: Any = None

    def _look(self, event: bytes) -> bytes | None:
        if event in {b"data: [DONE]", b"data:[DONE]"}:
            return event if self._whole else None
        if _ERROR.search(event) and (error := _value(event).get("error")):
            self._fail(error)
        if _FINISH.search(event):
            self._finish(_value(event))
        if _USAGE.search(event):
            value = _value(event)
            self.said = _said(value, value.get("usage"), self.said.finish)
            if not value.get("choices") and not self._wants_usage:
                return None
        if self._first is None:
            self._first = _value(event)
        return event

    def _finish(self, value: Any) -> None:
        for choice in value.get("choices") or ():
            reason = choice.get("finish_reason") if isinstance(choice, dict) else None
            if reason == "error":
                self._fail({})
            if reason:
                self._finished += 1
                self.said = _said(value, self.said.usage, str(reason)[:40])
        self._whole = self._finished >= self._choices

    def cut(self) -> bytes:
        """End it as a provider does that keeps to the cap."""
        first = self._first if isinstance(self._first, dict) else {}
        head = {name: first[name] for name in ("id", "object", "created", "model") if name in first}
        choices = [{"index": number, "delta": {}, "finish_reason": "length"} for number in range(self._choices)]
        return b"data: " + msgspec.json.encode({**head, "choices": choices}) + b"\n\ndata: [DONE]\n\n"


class _Messages(Watch):
    def _look(self, event: bytes) -> bytes | None:
        if b'"content_block_delta"' in event:
            return event
        if b'"message_start"' in event:
            message = _value(event).get("message") or {}
            self.said = _said(message, message.get("usage"), None)
        elif b'"message_delta"' in event:
            value = _value(event)
            usage = {**(self.said.usage or {}), **_present(value.get("usage"))}
            finish = (value.get("delta") or {}).get("stop_reason")
            self.said = Said(usage, self.said.model, self.said.provider, finish and str(finish)[:40])
            self.tail += event + b"\n\n"  # it says that the answer is at its end
            return None
        elif b'"message_stop"' in event:
            self._whole = self.said.finish is not None
        elif b'"error"' in event and _value(event).get("type") == "error":
            self._fail(_value(event).get("error"))
        elif event == b"data: [DONE]":
            return None
        return event


class _Responses(Watch):
    def _look(self, event: bytes) -> bytes | None:
        if b'.delta"' in event:
            return event
        if b'"response.completed"' in event or b'"response.incomplete"' in event:
            response = _value(event).get("response") or {}
            self.said = _said(response, response.get("usage"), str(response.get("status"))[:40])
            self._whole = True
        elif b'"response.failed"' in event or _ERROR.search(event):
            value = _value(event)
            if value.get("type") in {"response.failed", "error"} or "error" in value:
                self._fail((value.get("response") or {}).get("error") or value.get("error") or value)
        elif event == b"data: [DONE]":
            return event if self._whole else None
        return event


_WATCHES: dict[Api, type[Watch]] = {"chat": _Chat, "messages": _Messages, "responses": _Responses}


def watch(api: Api, cap: int, choices: int, *, wants_usage: bool) -> Watch:
    """Return what follows a stream of an API."""
    return _WATCHES[api](cap, choices, wants_usage=wants_usage)


def _check(event: bytes) -> None:
    """Raise `StreamBroken` for an event whose data is no JSON: its reader could make nothing of the rest."""
    start = 5 if event.startswith(b"data:") else event.find(b"\ndata:") + 6
    data = event[start:].strip()
    if start < 6 and not event.startswith(b"data:"):  # noqa: PLR2004 - find() found nothing
        return
    if data != b"[DONE]" and b"\n" not in data:
        try:
            _ANY.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise StreamBroken(detail=f"an event of {len(event)} bytes that is no JSON") from None


def _value(event: bytes) -> dict[str, Any]:
    """Return what an event says, as JSON; raise `StreamBroken` if it is none."""
    text = b"\n".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise StreamBroken(detail=f"an event of {len(event)} bytes that is no JSON") from None


def _said(value: dict[str, Any], usage: Any, finish: str | None) -> Said:
    model, provider = value.get("model"), value.get("provider")
    return Said(
        usage,
        model[:100] if isinstance(model, str) else None,
        provider[:100] if isinstance(provider, str) else None,
        finish,
    )


def _present(usage: Any) -> dict[str, Any]:
    return {name: one for name, one in usage.items() if one is not None} if isinstance(usage, dict) else {}
