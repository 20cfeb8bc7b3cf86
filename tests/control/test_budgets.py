"""Budgets in people's hands: raises that end by themselves, overruns that block until somebody looks, alerts."""

import datetime
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.budget import Ask, Hold, Target, rates_of
from broker.control import Budgets
from broker.errors import BudgetExhausted, NotFound, OperatorForbidden, OperatorRequestInvalid, TargetOverran
from tests.support.approving import APPROVER, OWNER
from tests.support.broker import Line
from tests.support.documents import ANALYST, HEAD, Written

InLine = Callable[[Callable[[Line], Awaitable[None]]], None]
HOUR = datetime.timedelta(hours=1)
HOOK = "https://chat.example.com/hooks/aam"
TARGET = Target("reasoning-high", "openai", "made-up")
DOCUMENTS = f"""{HEAD}kind: AgentPolicy
metadata: {{name: models}}
spec:
  identity: {{workload: '{ANALYST}'}}
  models: {{budget: {{daily_usd: 0.01, alerts: [50], webhook: '{HOOK}'}}}}
---
{HEAD}kind: Budget
metadata: {{name: finance}}
spec: {{team: finance, weekly_usd: 1}}
"""


@pytest.fixture(autouse=True)
def _documents(written: Written) -> None:
    written.put("budgets.yaml", DOCUMENTS)


async def begun(line: Line, tokens: int) -> Hold:
    """Hold a thousand nano-dollars for each token, for the analyst, as the pipeline does."""
    snapshot, rates = line.parts.documents.current, rates_of("openai", "made-up", later(), {"input": 1, "output": 1})
    agent, allowance = snapshot.registry.agents[ANALYST], snapshot.allowance_of(ANALYST)
    hold = line.parts.ledger.hold("a-call", 1, agent, allowance, TARGET, Ask(tokens, 0), rates)
    await line.parts.store.commits.commit(hold.begin)
    return hold


async def spent(line: Line, tokens: int, cost: int | None = None) -> None:
    """Make a whole call; it costs what was held for it, or what its provider says."""
    hold = await begun(line, tokens)
    if cost is not None:
        hold.charged(cost)
    await line.parts.store.commits.commit(hold.settle)


def later(by: datetime.timedelta = HOUR) -> datetime.datetime:
    """Return a moment that is not now."""
    return datetime.datetime.now(datetime.UTC) + by


async def raised(line: Line, **changes: Any) -> Any:
    """Raise the analyst's day by a cent, as an approver."""
    given: dict[str, Any] = {"whose": "agent", "name": ANALYST, "period": "day", "amount": 10_000_000}
    given |= {"until": later(), "reason": "Month end", "actor": APPROVER, **changes}
    return await line.parts.budgets.raise_for_a_time(**given)


def test_a_raise_is_on_record_and_ends_by_itself(in_line: InLine) -> None:
    """Issue 7: a temporary raise is an approval on record, with its actor; it expires by itself."""

    async def case(line: Line) -> None:
        await spent(line, 9_000)
        with pytest.raises(BudgetExhausted):
            await begun(line, 5_000)
        row = await raised(line)
        await spent(line, 5_000)
        standing = next(one for one in await line.parts.budgets.standings() if one.cap.whose == "agent")

        line.parts.ledger._clock = lambda: later(2 * HOUR).timestamp()
        with pytest.raises(BudgetExhausted):
            await begun(line, 1_000)

        (record,) = line.records(kind="budget_raised")
        assert (record["actor"], record["reason"]) == (APPROVER, "Month end")
        assert record["raise"] == {"id": row.id, "by": 10_000_000, "until": record["raise"]["until"]}
        assert (standing.limit, standing.spent, standing.left) == (20_000_000, 14_000_000, 6_000_000)

    in_line(case)


def test_a_raise_can_be_withdrawn_once(in_line: InLine) -> None:
    """Whoever approved too much can take it back; what was spent meanwhile stays spent."""

    async def case(line: Line) -> None:
        row = await raised(line)
        assert [one.id for one in await line.parts.budgets.raises()] == [row.id]

        await line.parts.budgets.withdraw(row.id, "Not needed", APPROVER)

        assert await line.parts.budgets.raises() == []
        with pytest.raises(BudgetExhausted):
            await begun(line, 15_000)
        with pytest.raises(NotFound):
            await line.parts.budgets.withdraw(row.id, "Not needed", APPROVER)

    in_line(case)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"actor": OWNER}, OperatorForbidden),
        ({"name": "spiffe://prod/agent/other"}, NotFound),
        ({"whose": "team", "name": "finanse"}, NotFound),
        ({"whose": "team", "name": "finance"}, NotFound),
        ({"until": later(-HOUR)}, OperatorRequestInvalid),
        ({"until": later(32 * 24 * HOUR)}, OperatorRequestInvalid),
    ],
)
def test_a_raise_that_may_not_be_is_none(in_line: InLine, changes: Any, refusal: Any) -> None:
    """Not by whoever answers for the agent, not for what has no such budget, not for ever; and nothing is on record."""

    async def case(line: Line) -> None:
        with pytest.raises(refusal):
            await raised(line, **changes)

        assert line.records(kind="budget_raised") == []

    in_line(case)


def test_an_overrun_blocks_its_model_until_somebody_has_looked_at_it(in_line: InLine) -> None:
    """Issue 7: a recorded, alarmed overrun blocks further calls until an operator acknowledges it."""

    async def case(line: Line) -> None:
        await spent(line, 1_000, cost=2_000_000)
        with pytest.raises(TargetOverran):
            await begun(line, 1_000)
        (overrun,) = await line.parts.budgets.overruns()

        await line.parts.budgets.acknowledge(overrun["id"], "Price corrected", APPROVER)

        await spent(line, 1_000)
        assert (overrun["amount"], overrun["cost"], overrun["overrun"]) == (1_000_000, 2_000_000, 1_000_000)
        assert [one["actor"] for one in line.records(kind="budget_acknowledged")] == [APPROVER]
        with pytest.raises(NotFound):
            await line.parts.budgets.acknowledge(overrun["id"], "Again", APPROVER)

    in_line(case)


def test_alerts_are_announced_once_and_survive_a_restart(in_line: InLine) -> None:
    """Issue 7: alerts at thresholds, given to the webhooks; one that could not be sent is on record as that."""
    sent: list[tuple[str, bytes]] = []

    async def deliver(url: str, form: str, body: Callable[[], bytes]) -> str | None:
        assert form.endswith("/budget/v1")
        sent.append((url, body()))
        return None if len(sent) > 1 else "upstream_unreachable"

    async def case(line: Line) -> None:
        await spent(line, 3_000)
        await spent(line, 3_000)
        await spent(line, 1_000, cost=1_500_000)
        restarted = Budgets(line.parts.documents, line.parts.store, deliver)

        await restarted.announce()
        await restarted.announce()

        assert [url for url, _ in sent] == [HOOK, HOOK]
        told = b"".join(body for _, body in sent).decode()
        assert '"percent":50' in told
        assert '"kind":"budget_overrun"' in told
        assert "6000000" not in told
        outcomes = [one["outcome"]["code"] for one in line.records(kind="budget_announced")]
        assert sorted(outcomes, key=str) == [None, "upstream_unreachable"]

    in_line(case)


def test_what_was_spent_is_summed_by_whatever_is_asked_for(in_line: InLine) -> None:
    """Issue 7: spend by agent, team, model, provider, day."""

    async def case(line: Line) -> None:
        for tokens in (1_000, 2_000):
            await spent(line, tokens)
        await begun(line, 500)
        asked = {"since": 0, "until": 2**33}
        budgets = line.parts.budgets

        (row,) = await budgets.spent(("agent", "team", "provider", "model"), asked)
        (whole,) = await budgets.spent(("day",), asked)

        assert dict(row.of) == {"agent": "analyst", "team": "finance", "provider": "openai", "model": "made-up"}
        assert (row.cost, row.calls, row.bounded) == (3_000_000, 2, 2)
        assert whole.of["day"] == f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
        assert await budgets.spent((), {**asked, "agent": "nobody"}) == []

    in_line(case)
