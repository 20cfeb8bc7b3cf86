"""What a call has used, as each API says it: tokens, the subsets of them that have prices of their own, and costs.

    {"prompt_tokens": 10339, "completion_tokens": 60, "prompt_tokens_details": {"cached_tokens": 10318}}

An upstream that contradicts itself is not believed: `UsageUnusable`, and the call is settled at its upper bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from broker.budget.money import Money, nanos

Shape = Literal["openai-chat", "openai-responses", "openai-embeddings", "anthropic-messages"]
_MOST_TOKENS = 10**12


class UsageUnusable(ValueError):  # noqa: N818 - said of usage, as a Refusal is of a call
    """The upstream's usage is missing, no numbers, or contradicts itself."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `cache_read` and `cache_write` are part of `input`, `reasoning` of `output`."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    """All that was written to the provider's cache, for an hour included."""
    cache_write_1h: int = 0
    reasoning: int = 0

    def __post_init__(self) -> None:
        every = (self.input, self.output, self.cache_read, self.cache_write, self.cache_write_1h, self.reasoning)
        if not all(0 <= one <= _MOST_TOKENS for one in every):
            raise UsageUnusable("a number of tokens is out of range")
        if self.cache_read + self.cache_write > self.input or self.cache_write_1h > self.cache_write:
            raise UsageUnusable("more tokens were cached than there were")
        if self.reasoning > self.output:
            raise UsageUnusable("more tokens were reasoning than there were")

    @property
    def tokens(self) -> int:
        """All tokens, as limits count them."""
        return self.input + self.output


def usage_of(shape: Shape, said: Any) -> Usage:
    """Return what an answer's `usage` object says; raise `UsageUnusable`."""
    if not isinstance(said, Mapping):
        raise UsageUnusable("there is no usage")
    if shape == "anthropic-messages":
        return _anthropic(said)
    prefix = "input" if shape == "openai-responses" else "prompt"
    answer = "output" if shape == "openai-responses" else "completion"
    given = _details(said, f"{prefix}_tokens_details")
    made = _details(said, f"{answer}_tokens_details")
    tokens, output = _count(said, f"{prefix}_tokens"), 0
    reasoning = _count(made, "reasoning_tokens", 0)
    if shape != "openai-embeddings":
        # Some (xAI, Gemini's OpenAI dialect) leave reasoning out of the output; the total has it
        output = max(_count(said, f"{answer}_tokens"), _count(said, "total_tokens", 0) - tokens)
    return Usage(
        tokens,
        output,
        _count(given, "cached_tokens", 0),
        _count(given, "cache_write_tokens", 0),
        reasoning=reasoning,
    )


def cost_of(said: Any, *, with_upstream: bool = False) -> Money | None:
    """Return what OpenRouter says that a call cost (`usage.cost`), or None where it says nothing.

    `with_upstream` adds what the provider behind it bills to a key of one's own (`is_byok`).
    """
    if not isinstance(said, Mapping) or said.get("cost") is None:
        return None
    cost = _dollars(said["cost"])
    if with_upstream and said.get("is_byok") is True:
        cost += _dollars(_details(said, "cost_details").get("upstream_inference_cost") or 0)
    return nanos(cost)


def _anthropic(said: Mapping[str, Any]) -> Usage:
    """Anthropic counts what was read from and written to the cache beside the input, not in it."""
    read = _count(said, "cache_read_input_tokens", 0)
    written = _count(said, "cache_creation_input_tokens", 0)
    hour = _count(_details(said, "cache_creation"), "ephemeral_1h_input_tokens", 0)
    plain = _count(said, "input_tokens")
    return Usage(plain + read + written, _count(said, "output_tokens"), read, written, hour)


def _details(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = said.get(name)
    return found if isinstance(found, Mapping) else {}


def _count(said: Mapping[str, Any], name: str, default: int | None = None) -> int:
    found = said.get(name)
    if found is None and default is not None:
        return default
    if type(found) is not int:  # nor a bool
        raise UsageUnusable(f"{name} is no number of tokens")
    return found


def _dollars(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise UsageUnusable("the cost is no number")
    try:
        dollars = Decimal(str(value))
    except InvalidOperation:
        raise UsageUnusable("the cost is no number") from None
    if not dollars.is_finite() or dollars < 0:
        raise UsageUnusable("the cost is no amount")
    return dollars
