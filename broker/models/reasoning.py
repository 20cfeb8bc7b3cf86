"""How much a model may think: that is the caller's to say, while an answer fits beside it, and it stays the model."""

from collections.abc import Mapping
from typing import Any

import msgspec

from broker.connector import Api
from broker.errors import ModelFieldRefused, ModelRequestInvalid

Raw = msgspec.Raw
_ALLOWED = frozenset({"effort", "summary", "generate_summary", "max_tokens", "exclude", "enabled", "mode"})
_MODES = (None, "standard")  # 'pro' is another model, at another price


def check_reasoning(api: Api, fields: Mapping[str, Raw], wanted: int | None, most: int) -> None:
    """Refuse a budget for thinking that leaves no room under the output cap, and whatever else it would change."""
    name, part = ("thinking", "budget_tokens") if api == "messages" else ("reasoning", "max_tokens")
    if (raw := fields.get(name)) is None:
        return
    try:
        asked = msgspec.json.decode(raw, type=dict[str, Any] | None) or {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ModelRequestInvalid(f"'{name}' is no JSON object.", field=name) from None
    if name == "reasoning":
        _check_members(asked)
    budget, cap = asked.get(part), most if wanted is None else min(wanted, most)
    if budget is not None and not (type(budget) is int and budget < cap):
        raise ModelFieldRefused(f"{name}.{part} must be below the output cap, which is {cap} here.", field=name)


def _check_members(asked: Mapping[str, Any]) -> None:
    if others := sorted(asked.keys() - _ALLOWED):
        raise ModelFieldRefused(f"'reasoning.{others[0][:60]}' is not for callers to set.", field="reasoning")
    if asked.get("mode") not in _MODES:
        raise ModelFieldRefused("'reasoning.mode' would choose another model: leave it out.", field="reasoning")
