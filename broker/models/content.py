"""What is inside a request: tools that a provider would run itself, media, and things that a provider keeps.

Most requests hold nothing but text, and a search of their bytes shows that; only what may hold more is read.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from broker.connector import Api
from broker.errors import ModelFieldRefused, ModelRequestInvalid
from broker.models.document import MediaPart

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
_TEXT = frozenset(
    {"text", "refusal", "input_text", "output_text", "summary_text", "reasoning_text", "thinking", "redacted_thinking"}
    | {"tool_use", "tool_result", "function", "custom", "message", "function_call", "function_call_output", "reasoning"}
    | {"custom_tool_call", "custom_tool_call_output", "search_result", "compaction"}
)
_MEDIA = frozenset(
    {"image_url", "input_audio", "file", "image", "document", "input_image", "input_file", "audio", "video_url"}
)
_DATED = re.compile(r"_[0-9]{8}$")  # computer_20250124: the provider writes its description
_HINTS = tuple(f'"{name}"'.encode() for name in (*sorted(_MEDIA), "file_id", "item_reference", "container_upload"))
_ESCAPED = b"\\u00"  # a letter that is written as an escape: what it spells is not to be found as bytes
_MOST_MEDIA = 100
_DEEPEST = 12  # contents within contents


class _Tool(msgspec.Struct):
    type: str = ""


@dataclass(slots=True)
class Found:
    """What a prompt holds besides text, and for how long it asks to be cached."""

    media: int = 0
    caching: Literal["5m", "1h"] | None = None


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


def check_thinking(api: Api, fields: Mapping[str, Raw], wanted: int | None, most: int) -> None:
    """Refuse a budget for thinking that leaves no room under the output cap, as Anthropic would, less clearly."""
    if api != "messages" or (raw := fields.get("thinking")) is None:
        return
    thinking = _value(raw, "thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    cap = most if wanted is None else min(wanted, most)
    if isinstance(budget, int) and budget >= cap:
        raise ModelFieldRefused(
            f"thinking.budget_tokens must be below the output cap, which is {cap} here.", field="thinking"
        )


def look(api: Api, fields: Mapping[str, Raw], rule: MediaPart | None) -> Found:
    """Return what is in a request's prompt; refuse what it may not hold under the route's rule."""
    found = Found(caching=_caching(fields))
    for name in _PROMPT[api]:
        raw = fields.get(name)
        if raw is None:
            continue
        text = bytes(raw)
        # an item of a response may be named by its id alone, without a word by which it could be found
        listed = api == "responses" and text[:1] == b"["
        if listed or _ESCAPED in text or any(hint in text for hint in _HINTS):
            _walk(_value(raw, name), found, rule, name, 0)
    return found


def _caching(fields: Mapping[str, Raw]) -> Literal["5m", "1h"] | None:
    """Return for how long any part asks to be cached: what could be such a word counts as one."""
    texts = [bytes(raw) for raw in fields.values()]
    if "cache_control" not in fields and not any(b'"cache_control"' in one or _ESCAPED in one for one in texts):
        return None
    return "1h" if any(b'"1h"' in one or _ESCAPED in one for one in texts) else "5m"


def _walk(value: Any, found: Found, rule: MediaPart | None, name: str, depth: int) -> None:
    """Look at messages, items and the parts of their content, however they are nested."""
    if depth > _DEEPEST:
        raise ModelRequestInvalid(f"'{name}' is nested too deep.", field=name)
    for part in value if isinstance(value, list) else ():
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        if kind in _MEDIA:
            _count(part, found, rule, name)
        elif kind is not None and kind not in _TEXT:
            raise ModelFieldRefused(f"Content of type {str(kind)[:60]!r} cannot be sent through here.", field=name)
        elif kind is None and "role" not in part and "id" in part:
            raise ModelFieldRefused(_KEPT, field=name)
        source = part.get("source")
        for inner in (
            part.get("content"),
            part.get("output"),
            source.get("content") if isinstance(source, dict) else (),
        ):
            _walk(inner, found, rule, name, depth + 1)


_KEPT = "What a provider keeps (files, items, containers) is bound to no agent: send the content itself."


def _count(part: Mapping[str, Any], found: Found, rule: MediaPart | None, name: str) -> None:
    if rule is None:
        raise ModelFieldRefused(
            "This model's route takes text only: images, sound and files have no bound there ('media').", field=name
        )
    found.media += 1
    if found.media > _MOST_MEDIA:
        raise ModelFieldRefused(f"At most {_MOST_MEDIA} images and files can be sent at once.", field=name)
    for key, value in _strings(part):
        if key == "file_id":
            raise ModelFieldRefused(_KEPT, field=name)
        if key in {"url", "image_url", "file_url", "video_url"} and not rule.remote and not value.startswith("data:"):
            raise ModelFieldRefused("Send the content itself, not its address: this route fetches nothing.", field=name)


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    for key, one in value.items() if isinstance(value, Mapping) else ():
        if isinstance(one, str):
            yield key, one
        elif isinstance(one, Mapping):
            yield from _strings(one)


def _value(raw: Raw, name: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ModelRequestInvalid(f"'{name}' is no JSON.", field=name) from None
