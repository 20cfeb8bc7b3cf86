"""How much a model is to think, as its caller says it: one value, whichever of an API's spellings it came in.

{"reasoning_effort": "high"}                        chat completions
{"reasoning": {"effort": "high", "exclude": true}}  chat completions as OpenRouter has them, and responses
{"thinking": {"type": "enabled", "budget_tokens": 4000}}, {"output_config": {"effort": "high"}}  messages
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import msgspec

from broker.connector import Api
from broker.errors import ModelFieldRefused, ModelRequestInvalid, ReasoningContradictory
from broker.models.document import Effort

Raw = msgspec.Raw
_MEMBERS = frozenset({"effort", "summary", "generate_summary", "max_tokens", "exclude", "enabled", "mode"})
_OF_THINKING = frozenset({"type", "budget_tokens", "display"})
_MODES = (None, "standard")  # 'pro' is another model, at another price
_KINDS = frozenset({"enabled", "disabled", "adaptive", "between_tools"})


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a caller asks for; of what it says nothing, its route does."""

    mode: Literal["off", "on"] | None = None
    """Whether the model thinks at all, where that is said."""
    effort: Effort | None = None
    budget: int | None = None
    """How many tokens it may think at most."""
    hidden: bool | None = None
    """Whether its thoughts are left out of the answer."""
    summary: str | None = None
    kind: str | None = None
    """How a message says it: `thinking.type`."""
    display: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """The other members of a message's `output_config`."""

    @property
    def says_how_much(self) -> bool:
        """Whether it says how much the model thinks, rather than only what is shown of it."""
        return self.mode is not None or self.effort is not None or self.budget is not None

    @property
    def asks(self) -> bool:
        """Whether the model is to think."""
        return self.mode != "off" and self.says_how_much


def taken_from(api: Api, fields: dict[str, Raw], wanted: int | None, most: int) -> Reasoning | None:
    """Take what speaks of reasoning out of a request's fields; None where nothing does.

    Raises `ModelFieldRefused` for what it would change besides, and for a budget that leaves no room under the output
    cap; `ReasoningContradictory` for what says two things at once.
    """
    cap = most if wanted is None else min(wanted, most)
    match api:
        case "chat":
            return _of_chat(fields, cap)
        case "responses":
            return _of_object(_object(fields, "reasoning"), cap)
        case "messages":
            return _of_message(fields, cap)
    return None


def _of_chat(fields: dict[str, Raw], cap: int) -> Reasoning | None:
    word, shown = _value(fields, "reasoning_effort"), _value(fields, "include_reasoning")
    asked = _object(fields, "reasoning")
    if word is None and shown is None:
        return _of_object(asked, cap)
    asked = asked or {}
    if word is not None:
        if asked.get("effort") not in (None, word) or asked.get("max_tokens") is not None:
            raise ReasoningContradictory("'reasoning_effort' and 'reasoning' say different things: send one of them.")
        asked |= {"effort": word}
    if shown is not None:
        _flag(shown, "include_reasoning")
        if asked.get("exclude") not in (None, not shown):
            raise ReasoningContradictory("'include_reasoning' and 'reasoning.exclude' contradict each other.")
        asked |= {"exclude": not shown}
    return _of_object(asked, cap)


def _of_object(asked: dict[str, Any] | None, cap: int) -> Reasoning | None:
    """Return what a `reasoning` object says, of OpenAI's and OpenRouter's members."""
    if not asked:
        return None
    _check_members("reasoning", asked, _MEMBERS)
    if asked.get("mode") not in _MODES:
        raise ModelFieldRefused("'reasoning.mode' would choose another model: leave it out.", field="reasoning")
    effort, budget = _effort(asked.get("effort"), "reasoning"), _budget(asked, "reasoning", "max_tokens", cap)
    enabled, hidden = (_flag(asked.get(name), "reasoning") for name in ("enabled", "exclude"))
    summary = _word(asked.get("summary") or asked.get("generate_summary"), "reasoning")
    if effort is not None and budget is not None:
        raise ReasoningContradictory("'reasoning.effort' and 'reasoning.max_tokens' both say how much: send one.")
    off = enabled is False or effort == "none"
    if off and (enabled or effort not in (None, "none") or budget):
        raise ReasoningContradictory("'reasoning' says that the model is not to think, and how much it is to.")
    if hidden and summary is not None:
        raise ReasoningContradictory("'reasoning.exclude' leaves out what 'reasoning.summary' asks for.")
    mode: Literal["off", "on"] | None = "off" if off else "on" if enabled else None
    return Reasoning(mode, None if off else effort, budget, hidden, summary)


def _of_message(fields: dict[str, Raw], cap: int) -> Reasoning | None:
    thinking, config = _object(fields, "thinking"), _object(fields, "output_config", taken=False) or {}
    effort = _effort(config.get("effort"), "output_config")
    if not thinking and effort is None:
        return None
    fields.pop("output_config", None)
    thinking = thinking or {}
    _check_members("thinking", thinking, _OF_THINKING)
    kind, display = (_word(thinking.get(name), "thinking") for name in ("type", "display"))
    budget = _budget(thinking, "thinking", "budget_tokens", cap)
    if thinking and kind not in _KINDS:
        raise ModelRequestInvalid("'thinking.type' is not what this API takes there.", field="thinking")
    if effort == "none":
        raise ModelRequestInvalid("'output_config.effort' is not what this API takes there.", field="output_config")
    if budget is not None and kind != "enabled":
        raise ReasoningContradictory("'thinking.budget_tokens' is for the type 'enabled' alone.")
    if budget is None and kind == "enabled":
        raise ModelRequestInvalid("'thinking.budget_tokens' is missing.", field="thinking")
    mode: Literal["off", "on"] | None = "off" if kind == "disabled" else "on" if kind else None
    rest = {name: value for name, value in config.items() if name != "effort"}
    return Reasoning(mode, effort, budget, kind=kind, display=display, config=rest)


def _value(fields: dict[str, Raw], name: str) -> Any:
    """Take a field, and return what it says; None where it is not there."""
    if (raw := fields.pop(name, None)) is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ModelRequestInvalid(f"'{name}' is no JSON.", field=name) from None


def _object(fields: dict[str, Raw], name: str, *, taken: bool = True) -> dict[str, Any] | None:
    found = _value(fields if taken else dict(fields), name)
    if found is not None and not isinstance(found, dict):
        raise ModelRequestInvalid(f"'{name}' is no JSON object.", field=name)
    return found


def _check_members(name: str, asked: Mapping[str, Any], allowed: frozenset[str]) -> None:
    if others := sorted(asked.keys() - allowed):
        raise ModelFieldRefused(f"'{name}.{others[0][:60]}' is not for callers to set.", field=name)


def _effort(value: Any, name: str) -> Effort | None:
    if value is not None and value not in get_args(Effort):
        raise ModelRequestInvalid(f"The effort in '{name}' is none of {', '.join(get_args(Effort))}.", field=name)
    found: Effort | None = value
    return found


def _budget(asked: Mapping[str, Any], name: str, part: str, cap: int) -> int | None:
    budget = asked.get(part)
    if budget is not None and not (type(budget) is int and 0 < budget < cap):
        raise ModelFieldRefused(f"{name}.{part} must be below the output cap, which is {cap} here.", field=name)
    return budget


def _flag(value: Any, name: str) -> bool | None:
    if value is not None and type(value) is not bool:
        raise ModelRequestInvalid(f"'{name}' is not what this API takes there.", field=name)
    return value


def _word(value: Any, name: str) -> str | None:
    if value is not None and not (isinstance(value, str) and value.isascii() and len(value) <= 40):  # noqa: PLR2004
        raise ModelRequestInvalid(f"'{name}' is not what this API takes there.", field=name)
    return value
