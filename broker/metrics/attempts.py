"""What the attempts of model calls come to: how they fare, how long they take, what they use and what that costs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from broker.metrics.tables import Count, Table, Times, counts, times

_TARGET = ("route", "provider", "model")
_KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")
_NANO = 1e-9
_MILLI = 1e-3


class Tokens:
    """Tokens as providers count them."""

    __slots__ = _KINDS

    def __init__(self) -> None:
        self.input = self.output = self.cache_read = self.cache_write = self.reasoning = 0

    def add(self, usage: Mapping[str, int]) -> None:
        """Count those of one attempt."""
        self.input += usage["input"]
        self.output += usage["output"]
        self.cache_read += usage["cache_read"]
        self.cache_write += usage["cache_write"]
        self.reasoning += usage["reasoning"]


class AttemptMeters:
    """Counts attempts, from what their call's *finished* record says of them. What a provider says is no label."""

    def __init__(self) -> None:
        self._attempts, self._fallbacks, self._cost = Table(Count), Table(Count), Table(Count)
        self._seconds, self._first = Table(Times), Table(Times)
        self._tokens = Table(Tokens)

    def ended(self, attempts: Sequence[Mapping[str, Any]], team: str) -> None:
        """Count the attempts of one call, in their order."""
        before: str | None = None
        for one in attempts:
            route, provider, model = target = (one["route"], one["provider"], one["model"])
            reason = one.get("trouble") or ""
            self._attempts.of((route, provider, model, one["status"], reason)).number += 1
            if before is not None:
                self._fallbacks.of((route, before)).number += 1
            before = reason
            if (took := one.get("ms")) is not None:
                self._seconds.of(target).add(took * _MILLI)
            if (first := one.get("first_ms")) is not None:
                self._first.of(target).add(first * _MILLI)
            if (cost := one["cost"]) is not None:
                self._cost.of((route, provider, model, team, one["cost_source"])).number += cost
            if (usage := one.get("usage")) is not None:
                self._tokens.of((route, provider, model, team)).add(usage)

    def families(self) -> Iterator[Metric]:
        """Yield what was counted."""
        yield counts(
            "aam_model_attempts",
            "Attempts at a model, by how they ended; the reason is the kind of trouble that the provider was in.",
            (*_TARGET, "status", "reason"),
            self._attempts,
        )
        yield counts(
            "aam_model_fallbacks",
            "How often the next target of a route was tried, by the trouble with the one before.",
            ("route", "reason"),
            self._fallbacks,
        )
        yield times(
            "aam_model_attempt_duration_seconds",
            "How long attempts took that came to their end.",
            _TARGET,
            self._seconds,
        )
        yield times(
            "aam_model_first_event_seconds",
            "How long it took until the first event of a model's stream was passed on.",
            _TARGET,
            self._first,
        )
        tokens = CounterMetricFamily(
            "aam_model_tokens",
            "Tokens as providers count them; cache_read and cache_write are part of input, reasoning is of output.",
            labels=(*_TARGET, "team", "type"),
        )
        for labels, one in self._tokens.rows():
            for kind in _KINDS:
                tokens.add_metric((*labels, kind), getattr(one, kind))
        yield tokens
        yield counts(
            "aam_model_cost_usd",
            "What models have cost in US dollars, by how that is known: upper_bound is the most that it may have been.",
            (*_TARGET, "team", "source"),
            self._cost,
            _NANO,
        )
