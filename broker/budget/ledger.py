"""The ledger: what agents spend on models. Spent and held together never exceed a limit, at any commit.

A hold is made in the commit that begins an attempt, over all windows or none, and settled in the one that ends it. What
a dead process left dispatched is spent in full at the next start: it may have been billed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker.audit import new_id, timestamp
from broker.budget.bounds import Ask
from broker.budget.hold import Hold, Target
from broker.budget.money import Money
from broker.budget.place import exact
from broker.budget.prices import Rates
from broker.errors import LimitReached, PriceUnknown
from broker.identity import Agent
from broker.policy import Allowance
from broker.store import HoldRow, SettledPart, Store, Transaction

_MOST_NAMED = 50


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a dead process left: how many holds were given back, how many are spent in full, and how much that is."""

    released: int
    charged: int
    cost: Money


class Ledger:
    """Holds and settles. Use it from one event loop; its changes are made by the store's writer."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._running: Counter[tuple[str, str]] = Counter()

    async def recover(self) -> Recovered:
        """End what a dead process left open: what was never sent is given back, what may have been sent is spent."""
        left = await asyncio.to_thread(self._store.read, self._store.budgets.live)
        if not left:
            return Recovered(0, 0, 0)
        return await self._store.commits.commit(lambda transaction: self._recover(transaction, left))

    def hold(
        self,
        call_id: str,
        attempt: int,
        agent: Agent,
        allowance: Allowance,
        target: Target,
        ask: Ask,
        rates: Rates | None,
    ) -> Hold:
        """Return a hold for one attempt, still to be made; raise `PriceUnknown` where money counts and has no price."""
        if rates is not None and ask.output_tokens and not rates.makes_output:
            rates = None
        if rates is None and allowance.budgeted:
            raise PriceUnknown(f"Nobody knows what {target.model} costs, and a budget applies; its route can say.")
        return Hold(self._store, self._clock, call_id, attempt, agent, allowance, target, ask, rates)

    @contextmanager
    def running(self, workload: str, allowance: Allowance) -> Iterator[None]:
        """Hold a place under each limit of model calls at once; raise `LimitReached` if one has none."""
        for policy, most in allowance.concurrent:
            if self._running[workload, policy] >= most:
                raise LimitReached(f"Policy {policy} permits {most} model calls at once.", retry_after=1)
        keys = {(workload, policy) for policy, _ in allowance.concurrent}
        self._running.update(keys)
        try:
            yield
        finally:
            self._running.subtract(keys)
            for key in keys:
                if not self._running[key]:
                    del self._running[key]

    def _recover(self, transaction: Transaction, left: list[HoldRow]) -> Recovered:
        table, now = self._store.budgets, int(self._clock())
        sent = [row for row in left if row.state == "dispatched"]
        for row in left:
            was_sent = row.state == "dispatched"
            part = SettledPart(row.amount if was_sent else 0, "found_at_start" if was_sent else "unsent", now)
            if table.settle(transaction, row.id, "settled" if was_sent else "released", part):
                for key, start, held in row.windows:
                    table.give(transaction, key, start, held, held if was_sent else 0)
        found = Recovered(len(left) - len(sent), len(sent), sum(row.amount for row in sent))
        record = {
            "id": new_id(),
            "time": timestamp(),
            "kind": "budget_recovered",
            "released": found.released,
            "charged": found.charged,
            "cost": exact(found.cost),
            "asked_by_calls": [row.call_id for row in sent[:_MOST_NAMED]],
        }
        self._store.trail.append(transaction, record)
        return found
