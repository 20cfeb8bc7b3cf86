"""What an agent asks of a model: read as far as policy and accounting need it, the rest left as the bytes it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from broker.connector import Api
from broker.errors import ModelFieldRefused, ModelRequestInvalid
from broker.models import content
from broker.models.fields import ALLOWED, INERT, WHY
from broker.models.reasoning import Reasoning, taken_from
from broker.models.route import Route

Raw = msgspec.Raw
Caching = Literal["5m", "1h"] | None
_TOP = msgspec.json.Decoder(dict[str, Raw])
_CAPS: dict[Api, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
    "embeddings": (),
}
_LONGEST_NAME = 60  # characters of what a caller called a field, in a message
_TRUE, _FALSE, _NULL = b"true", b"false", b"null"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request. `fields` are its members as they came, without those that this or the route takes off it."""

    api: Api
    alias: str
    stream: bool
    cap: int | None
    """How many tokens of output the caller asks for at most; None where it says nothing."""
    choices: int
    wants_usage: bool
    """Whether the caller asked for the usage at the end of a stream."""
    caching: Caching
    media: int
    """How many images, sounds and files are in it."""
    tools: int
    own_tools: int
    """How many of the tools a provider describes itself, at a length that the request does not show."""
    size: int
    """Bytes of the whole request: no tokenizer makes more tokens of it."""
    fields: Mapping[str, Raw] = field(repr=False)
    reasoning: Reasoning | None = None
    """What it says of how much the model is to think; that is in no field any more."""


def model_of(body: bytes) -> tuple[str, dict[str, Raw]]:
    """Return which model a request is for, and its members; raise `ModelRequestInvalid` if it is none.

    Of a member that stands twice the last counts, here and for whoever gets what is written of it.
    """
    try:
        fields = _TOP.decode(body)
        model = msgspec.json.decode(fields["model"], type=str)
    except KeyError:
        raise ModelRequestInvalid("The request names no 'model'.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ModelRequestInvalid("The request is no JSON object with a 'model'.") from None
    return model, fields


def read(api: Api, fields: dict[str, Raw], alias: str, route: Route, size: int) -> Wanted:
    """Return what a request asks for; raise `ModelFieldRefused` for what is the route's to say, not the caller's."""
    left = _taken_off(api, fields, route)
    stream = left.pop("stream", Raw(_FALSE))
    options = _decoded(left.pop("stream_options", Raw(_NULL)), "stream_options", dict[str, Any] | None) or {}
    caps = [_positive(left.pop(name), name) for name in _CAPS[api] if name in left]
    choices = _positive(left["n"], "n") if "n" in left else 1
    if (choices or 1) > route.document.max_choices:
        raise ModelFieldRefused(f"'n' may be {route.document.max_choices} at most: each answer is paid for.", field="n")
    del left["model"]
    tools, own_tools = content.check_tools(api, left)
    found = content.look(api, left, route.document.media)
    wanted_cap = min((cap for cap in caps if cap is not None), default=None)
    reasoning = taken_from(api, left, wanted_cap, route.document.max_output_tokens)
    return Wanted(
        api,
        alias,
        bool(_decoded(stream, "stream", bool | None)),
        wanted_cap,
        choices or 1,
        bool(options.get("include_usage")),
        found.caching,
        found.media,
        tools,
        own_tools,
        size,
        left | found.instead,
        reasoning,
    )


def _taken_off(api: Api, fields: dict[str, Raw], route: Route) -> dict[str, Raw]:
    """Return the members without those that ask for nothing; refuse the first that may not be there."""
    allowed, left = ALLOWED[api], {}
    for name, raw in fields.items():
        if name not in allowed and name not in route.document.parameters:
            raise ModelFieldRefused(
                f"'{name[:_LONGEST_NAME]}' is not for callers to set on model {route.alias!r}: "
                "its route says what answers, where and for how much.",
                field=name[:_LONGEST_NAME],
            )
        if name in INERT:
            if _decoded(raw, name, Any) not in INERT[name]:
                raise ModelFieldRefused(f"'{name}' cannot be used here: {WHY[name]}.", field=name)
        else:
            left[name] = raw
    return left


def _decoded(raw: Raw, name: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ModelRequestInvalid(f"'{name}' is not what this API takes there.", field=name) from None


def _positive(raw: Raw, name: str) -> int | None:
    """Return a number of tokens or answers, 1 or more; None for null."""
    number: int | None = _decoded(raw, name, int | None)
    if number is not None and not 1 <= number <= 10**9:
        raise ModelRequestInvalid(f"'{name}' must be 1 or more.", field=name)
    return number
