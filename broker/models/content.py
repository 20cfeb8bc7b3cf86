"""What is inside a request: tools that a provider would run itself, media, and things that a provider keeps.

A prompt that is more than a text is read whole: what may stand in it is known by name (`parts`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from broker.connector import Api
from broker.errors import ModelFieldRefused, ModelRequestInvalid
from broker.models.document import MediaPart
from broker.models.parts import Walk

Raw = msgspec.Raw
_CLIENT_TOOLS: dict[Api, tuple[str, ...]] = {
    "chat": ("function", "custom"),
    "responses": ("function", "custom"),
    # Anthropic's own names for tools that the agent runs
    "messages": ("custom", "bash_", "text_editor_", "computer_", "memory_"),
    "embeddings": (),
}
_PROMPT: dict[Api, tuple[str, ...]] = {
    "chat": ("messages",),
    "responses": ("input", "instructions"),
    "messages": ("messages", "system"),
    "embeddings": (),
}
_DATED = re.compile(r"_[0-9]{8}$")  # computer_20250124: the provider writes its description
_ESCAPED = b"\\u00"  # a letter that is written as an escape: what it spells is not to be found as bytes


class _Tool(msgspec.Struct):
    type: str = ""


@dataclass(slots=True)
class Found:
    """What a prompt holds besides text, and for how long it asks to be cached."""

    media: int = 0
    caching: Literal["5m", "1h"] | None = None
    instead: dict[str, Raw] = field(default_factory=dict)
    """Fields that are sent otherwise than they came."""


def check_tools(api: Api, fields: Mapping[str, Raw]) -> tuple[int, int]:
    """Return how many tools there are, and how many of them a provider describes itself.

    Those that a provider would run by itself, or that reach out for it, are refused.
    """
    if (raw := fields.get("tools")) is None:
        return 0, 0
    try:
        tools = msgspec.json.decode(raw, type=list[_Tool] | None) or []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ModelRequestInvalid("'tools' is no list of tools.", field="tools") from None
    for tool in tools:
        if not tool.type and api == "messages":
            continue
        if not any(tool.type == one or (one[-1] == "_" and tool.type.startswith(one)) for one in _CLIENT_TOOLS[api]):
            raise ModelFieldRefused(
                f"Tools of type '{tool.type[:60]}' are run by the provider, past the agent's policies; "
                "only tools that the agent runs itself may be named.",
                field="tools",
            )
    return len(tools), sum(_DATED.search(tool.type) is not None for tool in tools)


def look(api: Api, fields: Mapping[str, Raw], rule: MediaPart | None) -> Found:
    """Return what is in a request's prompt; refuse what it may not hold under the route's rule."""
    found, walk = Found(caching=_caching(fields)), Walk(rule)
    if api == "embeddings":
        _check_texts(fields.get("input"))
    for name in _PROMPT[api]:
        if (raw := fields.get(name)) is None:
            continue
        value, walk.name = _value(raw, name), name
        walk.parts(value)
        if api == "responses" and isinstance(value, list) and any(_thought(item) for item in value):
            found.instead[name] = _without_ids(raw, value)
    found.media = walk.media
    return found


def _check_texts(raw: Raw | None) -> None:
    """Refuse an input for embeddings that is more than texts and tokens: some take images there."""
    try:
        msgspec.json.decode(raw or b"null", type=str | list[str | int | list[int]] | None)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ModelFieldRefused("Only texts and tokens can be embedded through here.", field="input") from None


def _thought(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "reasoning" and "id" in item


def _without_ids(raw: Raw, value: list[Any]) -> Raw:
    """Return the items without the ids of thoughts: those hold all that they are, and are not to be looked up."""
    items: list[Any] = msgspec.json.decode(raw, type=list[Raw])
    for place, item in enumerate(value):
        if _thought(item):
            items[place] = {key: one for key, one in item.items() if key != "id"}
    return Raw(msgspec.json.encode(items))


def _caching(fields: Mapping[str, Raw]) -> Literal["5m", "1h"] | None:
    """Return for how long any part asks to be cached: what could be such a word counts as one."""
    texts = [bytes(raw) for raw in fields.values()]
    if "cache_control" not in fields and not any(b'"cache_control"' in one or _ESCAPED in one for one in texts):
        return None
    return "1h" if any(b'"1h"' in one or _ESCAPED in one for one in texts) else "5m"


def _value(raw: Raw, name: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ModelRequestInvalid(f"'{name}' is no JSON.", field=name) from None
