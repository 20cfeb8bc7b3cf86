"""What an agent may know of its own spending: `GET /v1/key`, as OpenRouter's clients ask for it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from broker.budget import usd
from broker.control import Standing
from broker.identity import Agent

_RESETS = {"day": "daily", "week": "weekly", "month": "monthly"}


def own_spending(agent: Agent, standings: Sequence[Standing]) -> bytes:
    """Return every cap that an agent is under, and in OpenRouter's words the budget of which the least is left.

    Amounts in OpenRouter's words are numbers, in our own strings, exact: a client of either finds what it expects.
    """
    money = [one for one in standings if one.cap.unit == "nano_usd"]
    tightest = min(money, key=lambda one: one.left, default=None)
    own = {one.cap.period: one for one in money if one.cap.whose == "agent"}
    data: dict[str, Any] = {
        "label": agent.name,
        "limit": None if tightest is None else _number(tightest.limit),
        "limit_remaining": None if tightest is None else _number(max(tightest.left, 0)),
        "limit_reset": None if tightest is None else _RESETS[tightest.cap.period],
        **{f"usage_{word}": _number(own[period].spent) for period, word in _RESETS.items() if period in own},
        "caps": [_shown(one) for one in standings],
    }
    return msgspec.json.encode({"data": data})


def _shown(one: Standing) -> dict[str, Any]:
    cap = one.cap
    amounts = {"limit": one.limit, "spent": one.spent, "held": one.held, "left": max(one.left, 0)}
    if cap.unit == "nano_usd":
        counted: dict[str, Any] = {f"{name}_usd": usd(amount) for name, amount in amounts.items()}
    else:
        counted = {**amounts, "counts": cap.unit}
    return {"of": cap.whose, "period": cap.period, **counted, "resets_at": one.window.resets_at}


def _number(nanos: int) -> float:
    return nanos / 10**9
