"""What a prompt is made of: messages, items and parts, each with the members that it may have, and no others.

A part that is not known here may be an image under another name, or name what a provider keeps; so may a member.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.errors import ModelFieldRefused, ModelRequestInvalid
from broker.models.document import MediaPart

KEPT = "What a provider keeps (files, items, containers) is bound to no agent: send the content itself."
_MOST_MEDIA = 100
_DEEPEST = 24  # members within members


def _named(words: str) -> frozenset[str]:
    return frozenset(words.split())


_MESSAGE = _named(
    "type role content name tool_call_id tool_calls function_call refusal audio annotations reasoning reasoning_content"
    " reasoning_details cache_control extra_content prefix id status phase"
)
_PLAIN = _named("type text id index annotations citations cache_control logprobs")
_CALL = _named("type id call_id name status namespace caller async created_by")
_OUTPUT = _named("type id call_id name status namespace caller output created_by")
_TEXT: Mapping[str, frozenset[str]] = {
    "message": _MESSAGE,
    **dict.fromkeys(("text", "input_text", "output_text", "summary_text", "reasoning_text"), _PLAIN),
    "refusal": _named("type refusal"),
    "thinking": _named("type thinking signature cache_control"),
    "redacted_thinking": _named("type data cache_control"),
    "reasoning": _named("type id summary content encrypted_content status signature format created_by"),
    "compaction": _named("type id encrypted_content content cache_control created_by"),
    "tool_use": _named("type id name input caller cache_control"),
    "tool_result": _named("type tool_use_id content is_error cache_control"),
    "search_result": _named("type title source content citations cache_control"),
    "function_call": _CALL | {"arguments"},
    "custom_tool_call": _CALL | {"input"},
    "function_call_output": _OUTPUT,
    "custom_tool_call_output": _OUTPUT,
}
_MEDIA: Mapping[str, frozenset[str]] = {
    "image_url": _named("type image_url cache_control"),
    "video_url": _named("type video_url cache_control"),
    "input_audio": _named("type input_audio cache_control"),
    "file": _named("type file cache_control"),
    "image": _named("type source cache_control"),
    "document": _named("type source title context citations cache_control"),
    "input_image": _named("type image_url detail file_id"),
    "input_file": _named("type filename file_data file_url file_id detail"),
}
_CALLED = _named("name arguments input")
_INNER: Mapping[str, frozenset[str]] = {
    "tool_calls": _named("id type index function custom extra_content"),
    "function_call": _CALLED,
    "function": _CALLED,
    "custom": _CALLED,
    "annotations": _named("type url_citation url title start_index end_index"),
    "url_citation": _named("url title content start_index end_index"),
    "citations": _named(
        "type enabled cited_text document_index document_title start_char_index end_char_index start_page_number"
        " file_id end_page_number start_block_index end_block_index search_result_index source title url"
        " encrypted_index"
    ),
    "reasoning_details": _named("type text summary data id format index signature"),
    "cache_control": _named("type ttl"),
    "caller": _named("type tool_id"),
}
_INNER_OF_MEDIA: Mapping[str, frozenset[str]] = {
    "image_url": _named("url detail"),
    "video_url": _named("url"),
    "input_audio": _named("data format"),
    "file": _named("filename file_data file_id"),
    "source": _named("type media_type data url file_id content"),
    "citations": _named("enabled"),
    "cache_control": _INNER["cache_control"],
}
_CONTENTS = _named("content output summary")
_ANYTHING = _named(
    "input arguments logprobs extra_content"
)  # what a tool was called with, and what providers say of an answer
_ADDRESSES = _named("url image_url file_url video_url")
_BYTES = _named("file_data data")
_SEALED = {"reasoning": ("encrypted_content", "content"), "compaction": ("encrypted_content",)}
_WHOLE = {
    "message": ("content", "tool_calls"),
    "function_call": ("arguments",),
    "custom_tool_call": ("input",),
    "function_call_output": ("output",),
    "custom_tool_call_output": ("output",),
}
"""What an item must have, like those that are sealed, where it has an id: else it stands for what a provider keeps."""


@dataclass(slots=True)
class Walk:
    """One look at a prompt: `media` counts images, sounds and files; anything that may not be there is refused."""

    rule: MediaPart | None
    name: str = ""
    """The field that the prompt is in, for messages."""
    media: int = 0

    def parts(self, value: Any, depth: int = 0) -> None:
        """Look at a text, or at messages, items and parts of content."""
        if value is None or isinstance(value, str):
            return
        if depth > _DEEPEST:
            raise ModelRequestInvalid(f"'{self.name}' is nested too deep.", field=self.name)
        if not isinstance(value, list):
            raise ModelRequestInvalid(f"'{self.name}' holds what is neither a text nor a list.", field=self.name)
        for part in value:
            if isinstance(part, dict):
                self._part(part, depth)
            elif not isinstance(part, str):
                raise ModelRequestInvalid(f"'{self.name}' holds what is no message or part.", field=self.name)

    def _part(self, part: Mapping[str, Any], depth: int) -> None:
        kind = part.get("type")
        if kind is None and isinstance(part.get("role"), str):
            kind = "message"
        if kind is None and "id" in part:
            raise ModelFieldRefused(KEPT, field=self.name)
        if not isinstance(kind, str) or (kind not in _TEXT and kind not in _MEDIA):
            raise ModelFieldRefused(f"Content of type {str(kind)[:60]!r} cannot be sent through here.", field=self.name)
        media = kind in _MEDIA
        if media:
            self._count()
        elif "id" in part and _by_id_alone(kind, part):
            raise ModelFieldRefused(KEPT, field=self.name)
        self._members(kind, part, _MEDIA[kind] if media else _TEXT[kind], depth, media=media)

    def _members(self, kind: str, part: Mapping[str, Any], allowed: frozenset[str], depth: int, *, media: bool) -> None:
        text = "data" if part.get("type") == "text" else None  # a document may be one, and speak of addresses
        for key, value in part.items():
            if key not in allowed:
                raise ModelFieldRefused(f"'{key[:60]}' cannot stand in a '{kind[:60]}' here.", field=self.name)
            if value is None or isinstance(value, bool | int | float):
                continue
            if isinstance(value, str):
                if media and key != text:
                    self._address(key, value)
            elif key in _CONTENTS:
                self.parts(value, depth + 1)
            elif key not in _ANYTHING:
                self._inner(key, value, depth + 1, media=media)

    def _inner(self, key: str, value: Any, depth: int, *, media: bool) -> None:
        allowed = (_INNER_OF_MEDIA if media else _INNER).get(key)
        for one in value if isinstance(value, list) and not media else [value]:
            if allowed is None or not isinstance(one, dict):
                raise ModelFieldRefused(f"'{key[:60]}' cannot be that here.", field=self.name)
            self._members(key, one, allowed, depth, media=media)

    def _count(self) -> None:
        if self.rule is None:
            raise ModelFieldRefused(
                "This model's route takes text only: images, sound and files have no bound there ('media').",
                field=self.name,
            )
        self.media += 1
        if self.media > _MOST_MEDIA:
            raise ModelFieldRefused(f"At most {_MOST_MEDIA} images and files can be sent at once.", field=self.name)

    def _address(self, key: str, value: str) -> None:
        """Refuse what the provider keeps, and an address that it would fetch where the route fetches nothing."""
        if key == "file_id":
            raise ModelFieldRefused(KEPT, field=self.name)
        if self.rule is None or self.rule.remote or value.startswith("data:"):
            return
        if key in _ADDRESSES or (key in _BYTES and ":" in value):  # there is none in base64
            raise ModelFieldRefused(
                "Send the content itself, not its address: this route fetches nothing.", field=self.name
            )


def _by_id_alone(kind: str, part: Mapping[str, Any]) -> bool:
    if kind in _SEALED:
        return not any(part.get(one) for one in _SEALED[kind])
    return kind in _WHOLE and all(part.get(one) is None for one in _WHOLE[kind])
