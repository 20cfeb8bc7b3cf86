"""What targets cost now: looked up once a minute each, as a price may depend on the day."""

import datetime
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from broker.budget import Rates, load_prices, rates_of
from broker.budget.money import NANO
from broker.models import Route, Target

_SECONDS = 60.0
_MOST = 1000  # targets: those of documents that are gone make room


class Prices:
    """The rates of targets."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Target, tuple[float, Rates | None]] = {}

    def of(self, target: Target) -> Rates | None:
        """Return a target's rates: its own prices, or the list's; None where nobody knows them."""
        now = self._clock()
        at, rates = self._known.get(target, (-_SECONDS, None))
        if now - at < _SECONDS:
            return rates
        if len(self._known) >= _MOST:
            self._known.clear()
        rates = _looked_up(target)
        self._known[target] = now, rates
        return rates

    def told(self, target: Target) -> dict[str, Any] | None:
        """Return what a target costs, as people and programs are told it: US dollars for a million tokens."""
        rates = self.of(target)
        if rates is None:
            return None
        tier = rates.tiers[0]
        names = ("input", "output", "cache_read", "cache_write")
        return {name: getattr(tier, name) / NANO for name in names} | {"source": rates.source}

    @staticmethod
    def prepare(routes: Iterable[Route]) -> "threading.Thread | None":
        """Have the price list read, which takes half a second, before a call needs it; None where none will."""
        targets = [target for route in routes for target in route.targets]
        if not any(target.part.prices is None and target.provider.prices is not None for target in targets):
            return None
        reading = threading.Thread(target=load_prices, name="price list", daemon=True)
        reading.start()
        return reading


def _looked_up(target: Target) -> Rates | None:
    part = target.part
    given = None if part.prices is None else part.prices.model_dump(exclude_none=True)
    provider = target.provider.prices
    if given is None and provider is None:
        return None
    return rates_of(provider or "", target.model, datetime.datetime.now(datetime.UTC), given)
