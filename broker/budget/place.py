"""Where a hold is counted: a cap, its window of the moment, and its limit; and what a place says that is too small."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from broker.budget.money import Money, usd
from broker.budget.windows import Window, window_of
from broker.errors import BudgetExhausted, BudgetHeld, LimitReached
from broker.policy import Cap
from broker.store import WindowKey

HELD_RETRY_SECONDS = 5  # calls to models last for seconds: then others may have ended
_LARGEST = 2**53 - 1  # what a record holds exactly
_PERIODS = {"minute": "minute's", "day": "daily", "week": "weekly", "month": "monthly"}


@dataclass(frozen=True, slots=True)
class Place:
    """A cap, its window of the moment, its limit with what it is raised by, and what is spent and held there."""

    cap: Cap
    window: Window
    key: WindowKey
    limit: int
    spent: int = 0
    held: int = 0

    @property
    def free(self) -> int:
        """What is neither spent nor held."""
        return self.limit - self.spent - self.held


def place_of(cap: Cap, now: float, raised: int) -> Place:
    """Return where a cap counts now, before anybody has looked how much is free."""
    window = window_of(cap.period, cap.zone, now)
    return Place(cap, window, window_key(cap, window), cap.amount + raised)


def window_key(cap: Cap, window: Window) -> WindowKey:
    """Return a cap's window as the store knows it."""
    return WindowKey(cap.key, cap.unit, cap.whose, cap.name, cap.period, window.start, window.end)


def budget_record(cap: Cap, window: Window, limit: Money) -> dict[str, Any]:
    """Return what records say of a budget's window."""
    return {
        "of": cap.whose,
        "name": cap.name,
        "period": cap.period,
        "time_zone": cap.zone,
        "source": cap.source,
        "limit": exact(limit),
        "resets_at": window.resets_at,
    }


def exact(number: int) -> int:
    """Return a number as a record may hold it: the largest exact one in the place of what is larger."""
    return min(number, _LARGEST)


def limit_reached(lacking: Sequence[Place], need: Callable[[Cap], int], now: float) -> LimitReached:
    """Say which limit is reached, and when the next call is permitted; never, if it alone is too large."""
    last = max(lacking, key=lambda place: (need(place.cap) > place.limit, place.window.end))
    cap = last.cap
    per = f"Policy {cap.source} permits {cap.amount} {cap.unit} a {cap.period}"
    if need(cap) > last.limit:
        return LimitReached(f"{per}; this call may need {need(cap)}: ask for less output.", retry_after=None)
    then = f"{per}; the next call is permitted at {last.window.resets_at}."
    return LimitReached(then, retry_after=max(last.window.end - int(now), 1), resets_at=last.window.resets_at)


def over_budget(lacking: Sequence[Place], amount: Money, fits: int) -> BudgetExhausted | BudgetHeld:
    """Say which budget does not cover the call, what is left, when it begins anew, and what output would fit."""
    spent = [place for place in lacking if amount > place.limit - place.spent]
    place = max(spent or lacking, key=lambda one: (amount > one.limit, one.window.end))
    would = f" An output of at most {fits} tokens would fit now." if fits > 0 else ""
    budget = f"The {_PERIODS[place.cap.period]} budget of {_of(place.cap)}"
    needs = f"this call may cost ${usd(amount)}"
    facts: dict[str, Any] = {"affordable_output_tokens": max(fits, 0), "budget": place.cap.source}
    if not spent:
        message = f"{budget} has ${usd(max(place.free, 0))} left beside what running calls hold; {needs}.{would}"
        return BudgetHeld(message, retry_after=HELD_RETRY_SECONDS, **facts)
    resets_at = None if amount > place.limit else place.window.resets_at
    then = f"is ${usd(place.limit)}" if resets_at is None else f"has ${usd(max(place.free, 0))} left until {resets_at}"
    return BudgetExhausted(f"{budget} {then}; {needs}.{would}", resets_at=resets_at, **facts)


def _of(cap: Cap) -> str:
    return {"agent": "this agent", "organisation": "the organisation"}.get(cap.whose, f"{cap.whose} {cap.name}")
