"""Whole answers of a provider: what they say of their usage, and whether they are what the API says they are."""

from dataclasses import dataclass
from typing import Any

import msgspec

from broker.connector import Api
from broker.errors import UpstreamMalformed

Raw = msgspec.Raw


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says of itself: its `usage` as the provider wrote it, and which model and provider answered."""

    usage: Any = None
    model: str | None = None
    provider: str | None = None
    finish: str | None = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Chat(msgspec.Struct):
    choices: list[_Choice]
    usage: Any = None
    model: str | None = None
    provider: str | None = None


class _Response(msgspec.Struct):
    status: str
    output: list[Raw]
    usage: Any = None
    model: str | None = None
    provider: str | None = None


class _Message(msgspec.Struct):
    content: list[Raw]
    usage: Any = None
    model: str | None = None
    provider: str | None = None
    stop_reason: str | None = None


class _Embeddings(msgspec.Struct):
    data: list[Raw]
    usage: Any = None
    model: str | None = None
    provider: str | None = None


_DECODERS: dict[Api, msgspec.json.Decoder[Any]] = {
    "chat": msgspec.json.Decoder(_Chat),
    "responses": msgspec.json.Decoder(_Response),
    "messages": msgspec.json.Decoder(_Message),
    "embeddings": msgspec.json.Decoder(_Embeddings),
}


def said_of(api: Api, body: bytes) -> Said:
    """Return what a whole answer says of itself; raise `UpstreamMalformed` if it is none of this API."""
    try:
        answer = _DECODERS[api].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamMalformed(detail=f"an answer of {len(body)} bytes that is none of the {api} API") from None
    if isinstance(answer, _Response) and answer.status not in {"completed", "incomplete"}:
        raise UpstreamMalformed(detail=f"a response with status {answer.status[:40]!r}")
    finish = None
    if isinstance(answer, _Chat):
        finish = answer.choices[0].finish_reason if answer.choices else None
        if finish == "error":
            raise UpstreamMalformed(detail="an answer that ended in an error of the provider")
    elif isinstance(answer, _Message):
        finish = answer.stop_reason
    return Said(answer.usage, _name(answer.model), _name(answer.provider), _name(finish))


def _name(text: str | None) -> str | None:
    return None if text is None else text[:100]
