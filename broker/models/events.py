"""What the events of a provider's stream say, on each API: read only as far as the broker must know it."""

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from broker.errors import StreamBroken

DONE = b"[DONE]"
Read = TypeVar("Read")
_TEXT_ALONE = frozenset({"role", "content", "refusal"})  # as most pieces are


class Choice(msgspec.Struct):
    """A piece of one answer. Log probabilities and whatever else it holds are passed over."""

    index: Any = 0
    delta: Any = None
    finish_reason: Any = None


class Chunk(msgspec.Struct):
    """An event of a chat completion."""

    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    model: Any = None
    provider: Any = None
    id: Any = None
    created: Any = None


class Message(msgspec.Struct):
    """What begins an answer of Anthropic's API."""

    model: Any = None
    provider: Any = None
    usage: Any = None


class MessageEvent(msgspec.Struct):
    """An event of Anthropic's API."""

    type: str = ""
    delta: Any = None
    message: Message | None = None
    usage: Any = None
    error: Any = None


class Response(msgspec.Struct):
    """The response of an event: mostly an echo of the request, which is passed over."""

    model: Any = None
    provider: Any = None
    usage: Any = None
    status: Any = None
    error: Any = None


class ResponseEvent(msgspec.Struct):
    """An event of OpenAI's responses."""

    type: str = ""
    delta: Any = None
    response: Response | None = None
    error: Any = None
    code: Any = None


def data_of(event: bytes) -> bytes | None:
    """Return the data of an event; None if it has none."""
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines).strip() if lines else None


def kind_of(event: bytes) -> str:
    """Return the type that stands beside an event's data; nothing if none does."""
    lines = (line[6:] for line in event.split(b"\n") if line.startswith(b"event:"))
    return next(lines, b"").strip().decode("utf-8", "replace")


def read(decoder: msgspec.json.Decoder[Read], data: bytes) -> Read:
    """Return what an event says; raise `StreamBroken` for what is none: its reader could make nothing of the rest."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:  # half of a character, in a text that was cut between its halves, is JSON for its readers
        return msgspec.convert(json.loads(data), decoder.type)
    except (ValueError, RecursionError):  # what msgspec raises is one, too
        raise StreamBroken(detail=f"an event of {len(data)} bytes that is none of its API") from None


def bytes_in(text: Any) -> int:
    """Return how long a text is; 0 for what is none."""
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def bytes_of_choice(delta: Any) -> int:
    """Return how much a piece of a chat's answer says: what stands in it twice counts once."""
    if not isinstance(delta, dict):
        return 0
    said = bytes_in(delta.get("content")) + bytes_in(delta.get("refusal"))
    if delta.keys() <= _TEXT_ALONE:
        return said
    said += max(bytes_in(delta.get("reasoning")), bytes_in(delta.get("reasoning_content"))) or _detailed(delta)
    for call in _calls(delta):
        said += bytes_in(call.get("arguments")) + bytes_in(call.get("input"))
    return said


def bytes_of_block(delta: Any) -> int:
    """Return how much a piece of an answer of Anthropic's API says; signatures are no output."""
    if not isinstance(delta, dict):
        return 0
    return sum(bytes_in(delta.get(name)) for name in ("text", "partial_json", "thinking"))


def _detailed(delta: dict[str, Any]) -> int:
    details = delta.get("reasoning_details")
    found = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    return sum(bytes_in(one.get("text")) for one in found)


def _calls(delta: dict[str, Any]) -> Iterator[dict[str, Any]]:
    calls = delta.get("tool_calls")
    found = [delta.get("function_call")]
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            found += [call.get("function"), call.get("custom")]
    return (one for one in found if isinstance(one, dict))
