"""One hold: the most that one attempt may cost, held in every window that it counts in, and settled once.

hold = ledger.hold(call_id, 1, agent, allowance, target, ask, rates)
story.settles(hold.settle)             # in the call's last commit, whatever ended it: said first, as who leaves
await story.begin(hold.begin)          # while its first is under way does not undo it; raises: nothing is held
... hold.output_tokens is the cap for the request to the provider ...
hold.used(usage)                       # or unsent(), charged(cost); nothing known: all of it
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from broker.audit import new_id
from broker.budget.alerts import alert, tell_overrun
from broker.budget.bounds import Ask
from broker.budget.money import Money
from broker.budget.place import Place, exact, limit_reached, over_budget, place_of
from broker.budget.prices import Rates
from broker.budget.usage import Usage
from broker.errors import InternalError, TargetOverran
from broker.identity import Agent
from broker.policy import Allowance, Cap
from broker.store import HoldRow, LookupRow, SettledPart, Store, Transaction

LOOK_UP_AFTER = 20
"""Seconds after which a provider is asked what a call has cost: it knows a little later than the call ends."""
Source = Literal["usage", "provider", "upper_bound", "unsent", "unpriced", "found_at_start"]
"""How a cost is known: by tokens and price, as the provider said it, as the most that it may have been."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an attempt is made with: the route, and of its targets the provider and the model."""

    route: str
    provider: str
    model: str


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
        self._known_as: tuple[str, str] | None = None

    # Changes, to be made in the commits of the call

    def begin(self, transaction: Transaction) -> None:
        """Hold and dispatch in one: what follows this commit may have been billed, whatever becomes of us."""
        self.reserve(transaction, dispatched=True)

    def reserve(self, transaction: Transaction, *, dispatched: bool = False) -> None:
        """Hold the most that the attempt may cost in every window, or raise, and then nothing is held.

        Raises `TargetOverran`, `LimitReached`, `BudgetExhausted` or `BudgetHeld`, which say what would fit.
        """
        table, now = self._store.budgets, self._clock()
        if self._allowance.budgeted and table.has_overrun(transaction, self.target.provider, self.target.model):
            raise TargetOverran
        raised = table.raised_for(transaction, int(now)) if self._allowance.budgeted else {}
        self._places = [place_of(cap, now, _raised(cap, raised)) for cap in self._allowance.caps]
        self.output_tokens, self.amount = self._ask.output_tokens, self._bound(self._ask.output_tokens)
        if not self._taken(transaction):  # a window is new, or lacks what is needed
            self._places = [self._counted(transaction, place) for place in self._places]
            self.output_tokens = self._fitting(now)
            self.amount = self._bound(self.output_tokens)
            if not self._taken(transaction):
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
        if source == "upper_bound" and self._known_as is not None:
            self._store.lookups.add(transaction, self._lookup(*self._known_as))
        if overrun:
            tell_overrun(self._store, transaction, self._overrun(cost, overrun), [place.cap for place in self._places])

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

    def known_as(self, generation: str, account: str) -> None:
        """Note by which id the provider itself knows what it costs, and with which grant: then it can be asked."""
        self._known_as = generation, account

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

    def _taken(self, transaction: Transaction) -> bool:
        """Hold what is needed everywhere; False, and nothing is held, if one window has it not."""
        table, taken = self._store.budgets, 0
        for place in self._places:
            if not table.take(transaction, place.key, self._need(place.cap), place.limit):
                break
            taken += 1
        else:
            return True
        for place in self._places[:taken]:
            table.give(transaction, place.cap.key, place.window.start, self._need(place.cap), 0)
        return False

    def _counted(self, transaction: Transaction, place: Place) -> Place:
        spent, held = self._store.budgets.opened(transaction, place.key)
        return dataclasses.replace(place, spent=spent, held=held)

    def _fitting(self, now: float) -> int:
        """Return an output cap with which the attempt fits everywhere; raise if there is none."""
        lacking = [place for place in self._places if self._need(place.cap) > place.free]
        if not lacking:
            return self._ask.output_tokens
        if counted := [place for place in lacking if place.cap.unit != "nano_usd"]:
            raise limit_reached(counted, self._need, now)
        money = [place for place in self._places if place.cap.unit == "nano_usd"]
        fits = min(self._affordable(place.free) for place in money)
        if all(place.cap.clamp for place in lacking) and fits >= max(place.cap.min_output_tokens for place in lacking):
            return fits
        raise over_budget(lacking, self.amount, fits)

    def _affordable(self, left: Money) -> int:
        assert self._rates is not None  # noqa: S101 - the ledger makes no hold without a price where money is counted
        return self._ask.affordable(self._rates, left)

    def _bound(self, output_tokens: int) -> Money:
        return 0 if self._rates is None else self._ask.bound(self._rates, output_tokens)

    def _tokens(self) -> int:
        return self._ask.input_tokens + self.output_tokens * self._ask.answers

    def _need(self, cap: Cap) -> int:
        if cap.unit == "nano_usd":
            return self.amount
        return self._tokens() if cap.unit == "tokens" else 1

    def _lookup(self, generation: str, account: str) -> LookupRow:
        due = int(self._clock()) + LOOK_UP_AFTER
        return LookupRow(self.id, self._call_id, self.target.provider, account, generation, due)

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
            alert(self._store, transaction, place, now_spent, self._agent)

    def _overrun(self, cost: Money, overrun: Money) -> dict[str, Any]:
        target = self.target
        return {
            "hold": self.id,
            "asked_by_call": self._call_id,
            "target": {"route": target.route, "provider": target.provider, "model": target.model},
            "held": self.amount,
            "cost": exact(cost),
            "overrun": exact(overrun),
            "agent": self._agent.name,
            "workload": self._agent.workload,
        }


def _raised(cap: Cap, raised: Mapping[tuple[str, str, str], int]) -> int:
    return raised.get((cap.whose, cap.name, cap.period), 0) if cap.unit == "nano_usd" else 0
