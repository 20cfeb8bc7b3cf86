"""What models cost: the operator's prices first, then those of genai-prices, which is pinned and never updates itself.

Rates are nano-dollars per million tokens, so a dollar per million is 1_000_000_000. Nothing here is a float.
"""

import datetime
import functools
import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal

from broker.budget.money import MOST, NANO, Money, nanos
from broker.budget.usage import Usage

MILLION = 10**6
_RATES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")
_SEARCHES = re.compile(r"(?<![a-z])(?:search|deep-research|sonar|online)(?![a-z])")
"""Models that search the web for every call, and bill that beside tokens: without that price, theirs is not known."""
# The members of genai-prices that are prices of text; what else a model may have a price for is not called here
_THEIRS = {
    "input": ("input_mtok",),
    "output": ("output_mtok",),
    "cache_read": ("cache_read_mtok",),
    "cache_write": ("cache_write_mtok", "cache_write_5m_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "reasoning": ("output_reasoning_mtok",),
}


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of calls whose whole input is more than `above` tokens: for all of their tokens."""

    above: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    reasoning: int

    def cost(self, usage: Usage) -> int:
        """Return what tokens cost, times a million."""
        plain = usage.input - usage.cache_read - usage.cache_write
        return (
            plain * self.input
            + usage.cache_read * self.cache_read
            + (usage.cache_write - usage.cache_write_1h) * self.cache_write
            + usage.cache_write_1h * self.cache_write_1h
            + (usage.output - usage.reasoning) * self.output
            + usage.reasoning * self.reasoning
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """What one model costs at one moment. The first tier is above nothing: it always applies."""

    tiers: tuple[Tier, ...]
    request: Money
    """For each request, whatever it says."""
    source: Literal["operator", "genai-prices"]
    version: str
    """Of the price list: recorded with every call."""
    makes_output: bool = True
    """Whether it has a price of output; one that has none is for embeddings, or nobody knows what its output costs."""
    model: str = field(default="", compare=False)
    """What the price list calls the model."""

    def cost(self, usage: Usage) -> Money:
        """Return what a call has cost: the tier is that of its whole input, and fractions are rounded up."""
        tier = self.reached(usage.input)[-1]
        return min(-(-tier.cost(usage) // MILLION) + self.request, MOST)

    def reached(self, tokens: int) -> tuple[Tier, ...]:
        """Return the tiers that an input of so many tokens or fewer can be in, the lowest first."""
        return tuple(tier for tier in self.tiers if tier.above == 0 or tokens > tier.above)

    def record(self) -> dict[str, Any]:
        """Return what the trail says of a price: nano-dollars per million tokens."""
        tiers = [{name: getattr(tier, name) for name in ("above", *_RATES)} for tier in self.tiers]
        return {"source": self.source, "version": self.version, "request": self.request, "tiers": tiers}


def rates_of(
    provider: str,
    model: str,
    at: datetime.datetime,
    given: Mapping[str, Any] | None = None,
) -> Rates | None:
    """Return a model's rates at a moment; None where nobody knows them, and then no budget can hold for it.

    `given` are the operator's, in US dollars per million tokens: `input`, `output` and, where they differ,
    `cache_read`, `cache_write`, `cache_write_1h`, `reasoning`; `request` dollars for each request; `tiers`, each with
    `above_input_tokens` and what differs. They win as a whole: nothing is filled in from anywhere else.
    """
    if given is not None:
        return _operators(given, model)
    found = _found(provider, model)
    if found is None:
        return None
    rates = _theirs(found.get_prices(at), found.id)
    unsaid = rates is not None and not rates.request and any(_SEARCHES.search(name) for name in (model, found.id))
    return None if unsaid else rates


def load_prices() -> str:
    """Read the price list, which takes half a second once, and return its version: for a moment when nobody waits."""
    _snapshot()
    return _version()


@functools.cache
def _version() -> str:
    return importlib.metadata.version("genai-prices")


@functools.cache
def _snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - only who has models pays for reading it

    return get_snapshot()


@functools.lru_cache(maxsize=4096)
def _found(provider: str, model: str) -> Any:
    try:
        return _snapshot().find_provider_model(model, None, provider, None)[1]
    except LookupError:
        return None


def _theirs(prices: Any, name: str) -> Rates | None:
    """Return rates as genai-prices has them; None where it has none for text."""
    if prices.input_mtok is None:
        return None
    known = {ours: next((value for one in names if (value := getattr(prices, one)) is not None), None)
             for ours, names in _THEIRS.items()}  # fmt: skip
    starts = {tier.start for value in known.values() for tier in getattr(value, "tiers", ())}
    tiers = [
        _tier(above, {ours: _at(value, above) for ours, value in known.items() if value is not None})
        for above in sorted({0, *starts})
    ]
    request = nanos((prices.requests_kcount or Decimal(0)) / 1000)
    return Rates(tuple(tiers), request, "genai-prices", _version(), known["output"] is not None, name)


def _at(value: Any, above: int) -> Decimal:
    """Return the price of calls whose input is above so many tokens."""
    price: Decimal = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        if above >= tier.start:
            price = tier.price
    return price


def _operators(given: Mapping[str, Any], model: str) -> Rates:
    base = {name: _decimal(given[name]) for name in _RATES if given.get(name) is not None}
    tiers = [_tier(0, base)]
    for one in sorted(given.get("tiers") or (), key=lambda tier: int(tier["above_input_tokens"])):
        own = {name: _decimal(one[name]) for name in _RATES if one.get(name) is not None}
        tiers.append(_tier(int(one["above_input_tokens"]), base | own))
    request = nanos(_decimal(given.get("request") or 0))
    return Rates(tuple(tiers), request, "operator", "", "output" in base, model)


def _tier(above: int, dollars: Mapping[str, Decimal]) -> Tier:
    """Fill in what has no price of its own: cached tokens cost what others do, reasoning what output does."""
    rates = {name: int((value * NANO).to_integral_value(ROUND_CEILING)) for name, value in dollars.items()}
    plain, output = rates["input"], rates.get("output", 0)
    written = rates.get("cache_write", plain)
    return Tier(
        above,
        plain,
        output,
        rates.get("cache_read", plain),
        written,
        rates.get("cache_write_1h", written),
        rates.get("reasoning", output),
    )


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else str(value))
