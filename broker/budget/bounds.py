"""The most that a call can cost, before it is made: every token that it may use, at the highest rate that may apply."""

import unicodedata
from dataclasses import dataclass
from typing import Literal

from broker.budget.money import MOST, Money
from broker.budget.prices import MILLION, Rates, Tier

_MESSAGE_TOKENS = 16  # roles and separators that a provider puts around each message
_TOOL_TOKENS = 64  # what it writes around the description of each tool
_TOOLS_TOKENS = 1024  # system text that it adds where there are tools; Anthropic's is 313 to 530
_WRITTEN_OUT = 27  # bytes that one `\uXXXX` of JSON may become beyond its own six, where text is normalised
_CALL_TOKENS = 64  # the beginning of an answer, and of a conversation


def input_bound(text: str, messages: int, tools: int) -> int:
    """Return the most tokens that a prompt can be: `text` is all of it as JSON, schemas of tools included.

    A byte-level BPE never makes more tokens than there are UTF-8 bytes; one that normalises first (NFKC), no more than
    the normalised bytes. Images, audio and files are not text: what they may cost is not known here.
    """
    length = len(text.encode("utf-8", "surrogatepass"))
    length += text.count("\\u") * _WRITTEN_OUT
    if not text.isascii():
        length = max(length, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))
    return length + messages * _MESSAGE_TOKENS + tools * _TOOL_TOKENS + (_TOOLS_TOKENS if tools else 0) + _CALL_TOKENS


@dataclass(frozen=True, slots=True)
class Ask:
    """What a call may use at most. `output_tokens` is the cap that is written into the request to the provider."""

    input_tokens: int
    output_tokens: int
    answers: int = 1
    """`n`, `best_of`: the output is paid so many times."""
    cache_writes: Literal["5m", "1h"] | None = None
    """For how long the request asks the provider to cache. Some write to their cache unasked, for the shorter time."""

    @property
    def tokens(self) -> int:
        """All tokens that it may use, as limits count them."""
        return self.input_tokens + self.output_tokens * self.answers

    def bound(self, rates: Rates, output_tokens: int | None = None) -> Money:
        """Return the most that it can cost, or could with another output cap; `MOST` where that is more."""
        output = (self.output_tokens if output_tokens is None else output_tokens) * self.answers
        given, made = self._dearest(rates)
        return min(-(-(self.input_tokens * given + output * made) // MILLION) + rates.request, MOST)

    def affordable(self, rates: Rates, left: Money) -> int:
        """Return the largest output cap with which it costs no more than `left`; negative if none is small enough."""
        given, made = self._dearest(rates)
        rest = (left - rates.request) * MILLION - self.input_tokens * given
        if rest < 0:
            return -1
        return self.output_tokens if made == 0 else min(rest // (made * self.answers), self.output_tokens)

    def _dearest(self, rates: Rates) -> tuple[int, int]:
        """Return the highest rates of input and output that may apply."""
        tiers = rates.reached(self.input_tokens)
        return max(map(self._input_rate, tiers)), max(max(tier.output, tier.reasoning) for tier in tiers)

    def _input_rate(self, tier: Tier) -> int:
        hour = tier.cache_write_1h if self.cache_writes == "1h" else 0
        return max(tier.input, tier.cache_read, tier.cache_write, hour)
