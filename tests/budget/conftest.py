"""A ledger over a store of the test's own, whose clock the test turns."""

import datetime
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.budget import Ask, Hold, Ledger, Rates, Target, rates_of
from broker.identity import Agent
from broker.policy import Allowance, BudgetPart, Cap, money_caps
from broker.store import Store, Transaction
from tests.support.low_tls import anyio_backend

__all__ = ["anyio_backend"]  # a fixture

NOON = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
WORKLOAD = "spiffe://prod/agent/analyst"
ANALYST = Agent(
    "analyst", WORKLOAD, "jane@example.com", "finance", "production", "analyst-1", "active", None, frozenset()
)
TARGET = Target("reasoning-high", "openai", "gpt-5.1")
A_DOLLAR_A_MILLION = {"input": 1, "output": 1}
RATES = rates_of("openai", "made-up", NOON, A_DOLLAR_A_MILLION)
"""A thousand nano-dollars a token."""
DOLLAR = 10**9


def budget(whose: Any = "agent", name: str = WORKLOAD, **given: Any) -> tuple[Cap, ...]:
    """Return the caps of a budget as a policy or Budget document writes it."""
    return tuple(money_caps(BudgetPart.model_validate(given, strict=True), whose, name, "the-policy"))


def asking(tokens: int, output: int = 0) -> Ask:
    """Return a call of so many tokens in, and so many out at most: a thousand nano-dollars each."""
    return Ask(tokens, output)


@dataclass
class Books:
    """A ledger, and short ways to use it."""

    store: Store
    now: float = field(default_factory=NOON.timestamp)

    def __post_init__(self) -> None:
        """Open the ledger."""
        self.ledger = Ledger(self.store, lambda: self.now)

    def hold(
        self, caps: tuple[Cap, ...], ask: Ask, *, agent: Agent = ANALYST, target: Target = TARGET, rates: Any = RATES
    ) -> Hold:
        """Return a hold that is still to be made."""
        return self.ledger.hold("call", 1, agent, Allowance(caps), target, ask, rates)

    async def begun(self, caps: tuple[Cap, ...], ask: Ask, **more: Any) -> Hold:
        """Return a hold that is made and dispatched."""
        hold = self.hold(caps, ask, **more)
        await self.commit(hold.begin)
        return hold

    async def commit(self, change: Callable[[Transaction], Any]) -> Any:
        """Make a change, durably."""
        return await self.store.commits.commit(change)

    def windows(self) -> list[tuple[int, int]]:
        """Return what every window has spent and held, by key and start."""
        query = "SELECT spent, held FROM budget_windows ORDER BY key, start"
        return self.store.read(lambda connection: connection.execute(query).fetchall())

    def kinds(self) -> list[str]:
        """Return the kinds of the records in the trail."""
        query = "SELECT json_extract(CAST(body AS TEXT), '$.kind') FROM records ORDER BY seq"
        return [kind for (kind,) in self.store.read(lambda connection: connection.execute(query).fetchall())]


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    """Open a ledger."""
    store = Store.open(tmp_path / "broker.db", "access.example/log/test")
    yield Books(store)
    store.close()


def known(rates: Rates | None) -> Rates:
    """Return rates that must be known."""
    assert rates is not None
    return rates
