"""What budgets cost: calls held and settled each second, under no cap and under six, durably, with nothing else."""

import asyncio
import datetime
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from broker.budget import Ask, Ledger, Target, Usage, rates_of
from broker.identity import Agent
from broker.policy import Allowance, BudgetPart, Cap, money_caps
from broker.store import Store
from tests.benchmarks.trails import LOG

_WORKLOAD = "spiffe://prod/agent/finance-analyst"
_AGENT = Agent(
    "finance-analyst", _WORKLOAD, "jane@example.com", "finance", "production", "one", "active", None, frozenset()
)
_RICH = BudgetPart(daily_usd=1e6, weekly_usd=1e6, monthly_usd=1e6, alerts=[])
_SIX: tuple[Cap, ...] = (
    *money_caps(_RICH, "agent", _WORKLOAD, "policy"),
    *money_caps(_RICH, "team", "finance", "budget"),
)


def holds(count: int, callers: tuple[int, ...] = (1, 16, 64)) -> list[dict[str, Any]]:
    """Hold and settle so many calls, in two commits each, by so many callers at once."""
    found = []
    for some in callers:
        row: dict[str, Any] = {"callers": some}
        for name, caps in (("uncapped", ()), ("six_caps", _SIX)):
            with (
                tempfile.TemporaryDirectory() as place,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,  # as the daemon has it
            ):
                row[f"{name}_per_second"] = runner.run(_measure(Path(place) / "broker.db", count, some, caps))
        found.append(row)
    return found


async def _measure(path: Path, count: int, callers: int, caps: tuple[Cap, ...]) -> float:
    store = Store.open(path, LOG)
    ledger, allowance, left = Ledger(store), Allowance(caps), iter(range(count))
    target = Target("summarization", "openai", "made-up")
    now = datetime.datetime.now(datetime.UTC)
    rates = rates_of("openai", "made-up", now, {"input": 1, "output": 4})

    async def caller() -> None:
        for _ in left:
            hold = ledger.hold("a-call", 1, _AGENT, allowance, target, Ask(1_000, 500), rates)
            await store.commits.commit(hold.begin)
            hold.used(Usage(600, 100))
            await store.commits.commit(hold.settle)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds = time.perf_counter() - began
    store.close()
    return count / seconds
