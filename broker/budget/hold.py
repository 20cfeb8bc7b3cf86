"""One hold: the most that one attempt may cost, held in every window that it counts in, and settled once.

hold = ledger.hold(call_id, 1, agent, allowance, target, ask, rates)
await story.begin(hold.begin)          # in the call's first commit; raises, and then nothing is held
... hold.output_tokens is the cap for the request to the provider ...
hold.used(usage)                       # or unsent(), charged(cost), at_most(output_tokens); nothing known: all of it
story.settles(hold.settle)             # in its last commit, whatever ended it
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from broker.audit import new_id, timestamp
from broker.budget.bounds import Ask
from broker.budget.money import Money, usd
from broker.budget.prices import Rates
from broker.budget.usage import Usage
from broker.budget.windows import Window, window_of
from broker.errors import BudgetExhausted, BudgetHeld, InternalError, LimitReached, TargetOverran
from broker.identity import Agent
from broker.policy import Allowance, Cap
from broker.store import HoldRow, SettledPart, Store, Transaction, WindowKey

Source = Literal["usage", "provider", "upper_bound", "unsent", "unpriced", "found_at_start"]
"""How a cost is known: by tokens and price, as the provider said it, as the most that it may have been."""

HELD_RETRY_SECONDS = 5  # calls to models last for seconds: then others may have ended
_LARGEST = 2**53 - 1  # what a record holds exactly
_PERIODS = {"minute": "minute's", "day": "daily", "week": "weekly", "month": "monthly"}


@dataclass(frozen=True, slots=True)
class Target:
    """What an attempt is made with: the route, and of its targets the provider and the model."""

    route: str
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Place:
    """A cap, its window of the moment, and how much of it is free."""

    cap: Cap
    window: Window
    limit: int
    spent: int
    held: int

    @property
    def key(self) -> WindowKey:
        """The window, as the store knows it."""
        return window_key(self.cap, self.window)

    @property
    def free(self) -> int:
        """What is neither spent nor held."""
        return self.limit - self.spent - self.held


class Hold:
    """What one attempt may cost, from the commit that begins it to the one that ends it. Made by `Ledger.hold`."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        call_id: str,
        attempt: int,
        agent: Agent,
        allowance: Allowance,
        target: Target,
        ask: Ask,
        rates: Rates | None,
    ) -> None:
        self.id = new_id()
        self.target = target
        self.output_tokens = ask.output_tokens
        """The cap that the request to the provider must carry; `begin` may lower it, where policies say so."""
        self.amount: Money = 0
        """What is held of money, once `begin` has been applied."""
        self.cost: Money | None = None
        """What it has cost, once `settle` has been applied."""
        self._store = store
        self._clock = clock
        self._call_id = call_id
        self._attempt = attempt
        self._agent = agent
        self._allowance = allowance
        self._ask = ask
        self._rates = rates
        self._places: Sequence[Place] = ()
        self._usage: Usage | None = None
        self._known: tuple[Money, Source] | None = None

    # Changes, to be made in the commits of the call

    def begin(self, transaction: Transaction) -> None:
        """Hold and dispatch in one: what follows this commit may have been billed, whatever becomes of us."""
        self.reserve(transaction, dispatched=True)

    def reserve(self, transaction: Transaction, *, dispatched: bool = False) -> None:
        """Hold the most that the attempt may cost in every window, or raise, and then nothing is held.

        Raises `TargetOverran`, `LimitReached`, `BudgetExhausted` or `BudgetHeld`, which say what would fit.
        """
        table = self._store.budgets
        now = self._clock()
        if self._allowance.budgeted and table.overrun(transaction, self.target.provider, self.target.model):
            raise TargetOverran
        self._places = [self._place(transaction, cap, now) for cap in self._allowance.caps]
        self.output_tokens = self._fitting(now)
        self.amount = self._bound()
        for place in self._places:
            if not table.take(transaction, place.key, self._need(place.cap), place.limit):
                raise InternalError(detail="a window has changed within its transaction")
        table.hold(transaction, self._row("dispatched" if dispatched else "reserved", int(now)))

    def dispatched(self, transaction: Transaction) -> None:
        """Note that the request is sent from now on."""
        if not self._store.budgets.dispatch(transaction, self.id):
            raise InternalError(detail="a hold was to be dispatched that is not reserved")

    def settle(self, transaction: Transaction) -> None:
        """Put what the attempt has cost in the place of what was held: once, however often this is applied.

        A hold that was never made is none: then nothing happens.
        """
        cost, source = self._costs()
        overrun = max(cost - self.amount, 0) if self._allowance.budgeted and self._rates is not None else 0
        part = self._part(cost, source, overrun)
        state: Literal["released", "settled"] = "released" if source == "unsent" else "settled"
        if not self._store.budgets.settle(transaction, self.id, state, part):
            return
        self.cost = part.cost
        for place in self._places:
            self._settle_place(transaction, place, cost)
        if overrun:
            self._tell_overrun(transaction, cost, overrun)

    # What becomes known of it. The last word counts; without one, all that was held is spent

    def unsent(self) -> None:
        """Nothing was sent, or the provider refused it before it did anything: it costs nothing."""
        self._known, self._usage = (0, "unsent"), None

    def used(self, usage: Usage) -> None:
        """Note the tokens, as the provider counts them: they cost what the price list said when the call began."""
        self._usage = usage
        self._known = (0, "unpriced") if self._rates is None else (self._rates.cost(usage), "usage")

    def charged(self, cost: Money, usage: Usage | None = None) -> None:
        """Note what the provider itself says that it cost."""
        self._usage, self._known = usage, (cost, "provider")

    def at_most(self, output_tokens: int) -> None:
        """Note that no more than so much output was made: only where the provider stops when it is cut off."""
        if self._rates is None:
            self._known = (0, "unpriced")
        else:
            self._known = min(self._ask.bound(self._rates, output_tokens), self.amount), "upper_bound"

    def record(self) -> dict[str, Any]:
        """Return what the trail says of it, in nano-dollars."""
        cost, source = self._costs()
        usage = self._usage
        said: dict[str, Any] = {
            "hold": self.id,
            "attempt": self._attempt,
            "route": self.target.route,
            "provider": self.target.provider,
            "model": self.target.model,
            "output_cap": self.output_tokens,
            "held": self.amount,
            "cost": None if source == "unpriced" else exact(cost),
            "cost_source": source,
            "prices": None if self._rates is None else self._rates.record(),
        }
        if usage is not None:
            said["usage"] = {name: getattr(usage, name) for name in Usage.__slots__}
        return said

    # How it is counted

    def _place(self, transaction: Transaction, cap: Cap, now: float) -> Place:
        window = window_of(cap.period, cap.zone, now)
        key = window_key(cap, window)
        table = self._store.budgets
        spent, held = table.opened(transaction, key)
        return Place(cap, window, cap.amount + table.raised(transaction, key, int(now)), spent, held)

    def _fitting(self, now: float) -> int:
        """Return an output cap with which the attempt fits everywhere; raise if there is none."""
        self.output_tokens, self.amount = self._ask.output_tokens, self._bound()
        lacking = [place for place in self._places if self._need(place.cap) > place.free]
        if not lacking:
            return self._ask.output_tokens
        if counted := [place for place in lacking if place.cap.unit != "nano_usd"]:
            raise _limit_reached(counted, self._need, now)
        money = [place for place in self._places if place.cap.unit == "nano_usd"]
        fits = min(self._affordable(place.free) for place in money)
        if all(place.cap.clamp for place in lacking) and fits >= max(place.cap.min_output_tokens for place in lacking):
            return fits
        raise _over_budget(lacking, self.amount, fits)

    def _affordable(self, left: Money) -> int:
        assert self._rates is not None  # noqa: S101 - the ledger makes no hold without a price where money is counted
        return self._ask.affordable(self._rates, left)

    def _bound(self) -> Money:
        return 0 if self._rates is None else self._ask.bound(self._rates, self.output_tokens)

    def _tokens(self) -> int:
        return self._ask.input_tokens + self.output_tokens * self._ask.answers

    def _need(self, cap: Cap) -> int:
        return {"nano_usd": self.amount, "tokens": self._tokens(), "requests": 1}[cap.unit]

    def _row(self, state: Literal["reserved", "dispatched"], now: int) -> HoldRow:
        agent, target = self._agent, self.target
        windows = [(place.cap.key, place.window.start, self._need(place.cap)) for place in self._places]
        return HoldRow(
            self.id,
            self._call_id,
            self._attempt,
            state,
            agent.workload,
            agent.name,
            agent.team,
            agent.owner,
            target.route,
            target.provider,
            target.model,
            self.amount,
            self._tokens(),
            now,
            windows,
        )

    def _costs(self) -> tuple[Money, Source]:
        if self._known is not None:
            return self._known
        return (0, "unpriced") if self._rates is None else (self.amount, "upper_bound")

    def _part(self, cost: Money, source: Source, overrun: Money) -> SettledPart:
        known, usage = None if source == "unpriced" else cost, self._usage
        now = int(self._clock())
        if usage is None:
            return SettledPart(known, source, now, overrun=overrun)
        return SettledPart(
            known,
            source,
            now,
            usage.input,
            usage.output,
            usage.cache_read,
            usage.cache_write,
            usage.reasoning,
            overrun,
        )

    def _settle_place(self, transaction: Transaction, place: Place, cost: Money) -> None:
        tokens = self._usage.tokens if self._usage is not None else self._tokens()
        if self._known is not None and self._known[1] == "unsent":
            tokens = 0
        spent = {"nano_usd": cost, "tokens": tokens, "requests": 1}[place.cap.unit]
        now_spent = self._store.budgets.give(
            transaction, place.cap.key, place.window.start, self._need(place.cap), spent
        )
        if now_spent is not None:
            self._alert(transaction, place, now_spent)

    def _alert(self, transaction: Transaction, place: Place, spent: int) -> None:
        """Put on record, once for each window, that a threshold of it is reached."""
        cap = place.cap
        reached = [percent for percent in cap.alerts if spent * 100 >= place.limit * percent]
        if not reached or not self._store.budgets.alert(transaction, cap.key, place.window.start, max(reached)):
            return
        said = {
            "budget": budget_record(cap, place.window, place.limit),
            "percent": max(reached),
            "spent": exact(spent),
            "agent": self._agent.name,
            "workload": self._agent.workload,
        }
        self._event(transaction, "budget_alerted", said, [cap])

    def _tell_overrun(self, transaction: Transaction, cost: Money, overrun: Money) -> None:
        target = self.target
        said = {
            "hold": self.id,
            "asked_by_call": self._call_id,
            "target": {"route": target.route, "provider": target.provider, "model": target.model},
            "held": self.amount,
            "cost": exact(cost),
            "overrun": exact(overrun),
            "agent": self._agent.name,
            "workload": self._agent.workload,
        }
        self._event(transaction, "budget_overrun", said, [place.cap for place in self._places])

    def _event(self, transaction: Transaction, kind: str, said: Mapping[str, Any], caps: Sequence[Cap]) -> None:
        """Put an event on record, and keep it to be announced where the caps say."""
        record = {"id": new_id(), "time": timestamp(), "kind": kind, **said}
        self._store.trail.append(transaction, record)
        for webhook in sorted({cap.webhook for cap in caps if cap.webhook is not None}):
            self._store.budgets.announce(transaction, new_id(), webhook, record)


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


def _limit_reached(lacking: Sequence[Place], need: Callable[[Cap], int], now: float) -> LimitReached:
    """Say which limit is reached, and when the next call is permitted; never, if it alone is too large."""
    last = max(lacking, key=lambda place: (need(place.cap) > place.limit, place.window.end))
    cap = last.cap
    per = f"Policy {cap.source} permits {cap.amount} {cap.unit} a {cap.period}"
    if need(cap) > last.limit:
        return LimitReached(f"{per}; this call may need {need(cap)}: ask for less output.", retry_after=None)
    then = f"{per}; the next call is permitted at {last.window.resets_at}."
    return LimitReached(then, retry_after=max(last.window.end - int(now), 1), resets_at=last.window.resets_at)


def _over_budget(lacking: Sequence[Place], amount: Money, fits: int) -> BudgetExhausted | BudgetHeld:
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
