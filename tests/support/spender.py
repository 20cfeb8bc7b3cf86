"""A process that spends, to be killed at any moment: `python -m tests.support.spender STORE BILLS DAY SEED`.

Its provider writes a bill the moment that it is asked, so what stands in BILLS was really to be paid, whatever the
process lived to note of it. Each start is a day later than the one before.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from broker.budget import Hold, Ledger, Usage
from broker.errors import BudgetExhausted, BudgetHeld
from broker.policy import Allowance
from broker.store import Store
from tests.budget.conftest import ANALYST, NOON, RATES, TARGET, WORKLOAD, asking, budget

CALLERS = 24
LOG = "access.example/log/test"
CAPS = (
    *budget("agent", WORKLOAD, daily_usd=0.5, monthly_usd=6),
    *budget("team", "finance", daily_usd=0.4, weekly_usd=2.5),
)


def bill(file: int, hold: Hold, tokens: int) -> None:
    """Bill a call, as its provider does: in one write, which a kill does not part."""
    os.write(file, f"{hold.id} {tokens * 1_000}\n".encode())


async def caller(ledger: Ledger, store: Store, bills: int, number: int) -> None:
    """Call until the budget of the day is exhausted."""
    while True:
        hold = ledger.hold(f"call-{number}", 1, ANALYST, Allowance(CAPS), TARGET, asking(1_000, 2_000), RATES)
        try:
            await store.commits.commit(hold.begin)
        except BudgetHeld:
            await asyncio.sleep(0)
            continue
        except BudgetExhausted:
            return
        tokens = random.randint(0, 3_000)  # noqa: S311 - no secret
        bill(bills, hold, tokens)
        await asyncio.sleep(0)
        if random.random() < 0.9:  # noqa: S311 - some answers break off, and nobody knows what they cost
            hold.used(Usage(tokens, 0))
        await store.commits.commit(hold.settle)


async def main(path: Path, bills: Path, day: int, seed: int) -> None:
    """Recover what the process before has left, then spend."""
    random.seed(seed)
    store = Store.open(path, LOG)
    ledger = Ledger(store, lambda: NOON.timestamp() + day * 86_400)
    await ledger.recover()
    file = os.open(bills, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with asyncio.TaskGroup() as tasks:
        for number in range(CALLERS):
            tasks.create_task(caller(ledger, store, file, number))
    store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
