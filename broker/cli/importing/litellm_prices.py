"""What LiteLLM says that a model costs, as a route's `prices`: dollars for a million tokens, all of them or none."""

import datetime
import math
import re
from typing import Any

from broker.budget import rates_of
from broker.cli.importing.drafts import Draft

_NAMES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
}
_REQUEST = "input_cost_per_request"
_ABOVE = re.compile(r"_above_([0-9]{1,5})k_tokens$")
_LISTED = {"openai": "openai", "anthropic": "anthropic", "openrouter": "openrouter"}
"""Types of connectors whose models the built-in list knows by the names that are used here, and what it calls them."""
_MILLION = 1_000_000
_MOST_TIERS = 10


def is_price(field: str) -> bool:
    """Tell whether a field is one of prices."""
    return "cost" in field


def prices_of(draft: Draft, kind: str, model: str, said: dict[str, Any], place: str) -> dict[str, Any] | None:
    """Return the prices of a target; None where it has none, or where the built-in list knows better."""
    given = {field: value for field, value in said.items() if is_price(field) and value}
    if given and kind in _LISTED and rates_of(_LISTED[kind], model, datetime.datetime.now(datetime.UTC)) is not None:
        draft.note(f"{place}: prices", f"the built-in list has {model}: without 'prices' in the route, it counts")
        return None
    if "input_cost_per_token" not in said:
        for field in given:
            draft.note(f"{place}.{field}", "a price without one of input tokens (input_cost_per_token) is none")
        return None
    prices: dict[str, Any] = {}
    tiers: dict[int, dict[str, float]] = {}
    for field, value in said.items():
        if is_price(field) and value is not None and not _taken(prices, tiers, field, value):
            draft.note(f"{place}.{field}", "no document has a word for this price: what it bills is not held")
    if "input" not in prices:
        return None
    if "output" not in prices and (
        "reasoning" in prices or any({"output", "reasoning"} & set(tier) for tier in tiers.values())
    ):
        draft.note(f"{place}: prices", "some output has a price and output itself has none: write them into the route")
        return None
    if tiers:
        prices["tiers"] = [{"above_input_tokens": above, **tiers[above]} for above in sorted(tiers)[:_MOST_TIERS]]
    return prices


def _taken(prices: dict[str, Any], tiers: dict[int, dict[str, float]], field: str, value: Any) -> bool:
    """Put a price where it belongs; False where it has no place. One of 0 that has none is no loss."""
    dollars = _number(value)
    found = _ABOVE.search(field)
    name = _NAMES.get(field.removesuffix(found[0]) if found else field)
    if dollars is None or (name is None and field != _REQUEST):
        return dollars == 0
    if field == _REQUEST:
        prices["request"] = dollars
    elif name is not None and found is None:
        prices[name] = round(dollars * _MILLION, 9)
    elif name is not None and found is not None:
        tiers.setdefault(int(found[1]) * 1000, {})[name] = round(dollars * _MILLION, 9)
    return True


def _number(value: Any) -> float | None:
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return number if number is not None and math.isfinite(number) and 0 <= number <= 1 else None
