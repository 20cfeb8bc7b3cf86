"""The law: spent and held together never exceed a limit, at any commit, but for what a provider overran."""

import asyncio
import random
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.audit import new_id
from broker.budget import Hold, Usage
from broker.budget.reconciling import reconcile
from broker.errors import BudgetExhausted, BudgetHeld, LimitReached, TargetOverran
from broker.policy import Cap, ModelLimitsPart, count_caps
from broker.store import RaiseRow, Store, Transaction
from tests.budget.conftest import ANALYST, DOLLAR, WORKLOAD, Books, asking, budget

HOUR = 3600
LAW = """
CREATE TABLE law (key TEXT PRIMARY KEY, amount INTEGER, whose TEXT, name TEXT, period TEXT);
CREATE TABLE clock (now INTEGER);
INSERT INTO clock VALUES (0);
CREATE TABLE overrunning (yes INTEGER);
INSERT INTO overrunning VALUES (0);
CREATE TABLE known_later (amount INTEGER);
INSERT INTO known_later VALUES (0);
CREATE TRIGGER holding BEFORE UPDATE ON budget_windows
WHEN NEW.held > OLD.held AND NEW.spent + NEW.held > (
    SELECT law.amount + (
        SELECT coalesce(sum(r.amount), 0) FROM budget_raises r, clock
        WHERE r.whose = law.whose AND r.name = law.name AND r.period = law.period AND r.until > now AND r.created <= now
    ) FROM law WHERE key = NEW.key)
BEGIN SELECT RAISE(ABORT, 'the law is broken'); END;
CREATE TRIGGER settling BEFORE UPDATE ON budget_windows
WHEN NEW.held <= OLD.held AND NEW.spent + NEW.held > OLD.spent + OLD.held AND NOT (SELECT yes FROM overrunning)
BEGIN SELECT RAISE(ABORT, 'a settlement spends more than was held'); END;
CREATE TRIGGER counting BEFORE UPDATE ON budget_windows
WHEN NEW.held < 0 OR NEW.spent < 0 OR (
    NEW.spent < OLD.spent AND NOT (NEW.held = OLD.held AND OLD.spent - NEW.spent <= (SELECT amount FROM known_later)))
BEGIN SELECT RAISE(ABORT, 'something was given back twice'); END;
"""
CAPS = (
    *budget(daily_usd=0.010, timezone="America/Santiago"),
    *budget(
        "team", "finance", weekly_usd=0.030, timezone="Europe/Berlin", on_insufficient="clamp", min_output_tokens=9
    ),
    *budget("owner", "jane@example.com", monthly_usd=0.080, timezone="Australia/Lord_Howe"),
    *budget("organisation", "", daily_usd=0.020),
    *count_caps(ModelLimitsPart(tokens_per_minute=12_000, requests_per_day=9), WORKLOAD, "the-policy"),
)


def lay_down(caps: tuple[Cap, ...]) -> Any:
    """Return the change that has the database itself refuse what breaks the law, statement by statement."""

    def change(transaction: Transaction) -> None:
        statement = ""
        for line in LAW.splitlines():
            statement += f"{line}\n"
            if sqlite3.complete_statement(statement):
                transaction.execute(statement)
                statement = ""
        for cap in caps:
            whose = cap.whose if cap.unit == "nano_usd" else None
            transaction.execute(
                "INSERT INTO law VALUES (?, ?, ?, ?, ?)", (cap.key, cap.amount, whose, cap.name, cap.period)
            )

    return change


class Spending(RuleBasedStateMachine):
    """Any order of beginnings, ends, crashes and turns of the clock, against a model of what must be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.books = Books(Store.open(Path(self.directory.name) / "broker.db", "access.example/log/test"))
        self.books.now = 1_788_600_000.0  # a day before the clocks change in Santiago
        self.open: list[Hold] = []
        self.billed = 0
        self.commit(lay_down(CAPS))
        self.tell_the_time()

    def teardown(self) -> None:
        """Close the store."""
        self.books.store.close()
        self.directory.cleanup()
        self.runner.close()

    def commit(self, change: Any) -> Any:
        """Make a change, durably."""
        return self.runner.run(self.books.commit(change))

    @rule(
        caps=st.sets(st.sampled_from(CAPS)),
        tokens=st.integers(0, 9_000),
        output=st.integers(0, 9_000),
        sent=st.booleans(),
    )
    def begin(self, caps: set[Cap], tokens: int, output: int, sent: bool) -> None:  # noqa: FBT001 - hypothesis' way
        """Begin a call, which may be refused."""
        mine = tuple(sorted(caps, key=lambda cap: cap.key))
        hold = self.books.hold(mine, asking(tokens, output))
        try:
            self.commit(hold.begin if sent else hold.reserve)
        except (BudgetExhausted, BudgetHeld, LimitReached, TargetOverran):
            return
        self.open.append(hold)

    @rule(data=st.data(), how=st.sampled_from(["used", "unsent", "silent", "provider", "overrun", "twice"]))
    def end(self, data: st.DataObject, how: str) -> None:
        """End a call in some way."""
        if not self.open:
            return
        hold = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        part = data.draw(st.floats(0, 1))
        if how == "used":
            hold.used(Usage(int(hold.amount // 1000 * part), 0))
            self.billed += int(hold.amount // 1000 * part) * 1000
        elif how == "unsent":
            hold.unsent()
        elif how == "provider":
            hold.charged(int(hold.amount * part))
            self.billed += int(hold.amount * part)
        elif how == "overrun":
            hold.charged(hold.amount + 5_000_000)
            self.billed += hold.amount + 5_000_000
        else:
            self.billed += hold.amount
            hold.known_as(hold.id, "grant")
        self.commit(lambda transaction: transaction.execute("UPDATE overrunning SET yes = ?", (how == "overrun",)))
        for _ in range(2 if how == "twice" else 1):
            self.commit(hold.settle)
        self.commit(lambda transaction: transaction.execute("UPDATE overrunning SET yes = 0"))

    @rule(data=st.data(), part=st.sampled_from([0.0, 0.3, 1.0, 1.2]), twice=st.booleans())
    def reconcile(self, data: st.DataObject, part: float, twice: bool) -> None:  # noqa: FBT001 - hypothesis' way
        """Learn later what a call has cost that was counted at its bound; from a provider that may bill more."""
        known = self.books.store.read(lambda reading: self.books.store.lookups.due(reading, 2**53, 50))
        if not known:
            return
        row = data.draw(st.sampled_from(known))
        query = "SELECT cost FROM budget_holds WHERE id = ?"
        (bound,) = self.books.store.read(lambda connection: connection.execute(query, (row.hold,)).fetchone())
        cost = int(bound * part)
        self.commit(lambda change: change.execute("UPDATE known_later SET amount = ?", (max(bound - cost, 0),)))
        self.commit(lambda change: change.execute("UPDATE overrunning SET yes = ?", (cost > bound,)))
        for _ in range(2 if twice else 1):
            self.commit(lambda change: reconcile(self.books.store, change, row, cost, (), None))
        self.commit(lambda change: change.execute("UPDATE known_later SET amount = 0"))
        self.commit(lambda change: change.execute("UPDATE overrunning SET yes = 0"))
        self.billed += cost - bound

    @rule()
    def crash(self) -> None:
        """Have the process die and another one start. What was sent may have been billed."""
        query = "SELECT coalesce(sum(amount), 0) FROM budget_holds WHERE state = 'dispatched'"
        self.billed += self.books.store.read(lambda connection: connection.execute(query).fetchone())[0]
        self.open.clear()
        self.runner.run(self.books.ledger.recover())

    @rule()
    def acknowledge(self) -> None:
        """Have an operator look at what was overrun."""
        for one in self.books.store.read(self.books.store.budgets.overruns):
            self.commit(lambda transaction, one=one: self.books.store.budgets.acknowledge(transaction, one["id"], 1))

    @rule(cap=st.sampled_from(CAPS), amount=st.integers(1, 20_000_000), hours=st.sampled_from([0.5, 3, 30]))
    def approve(self, cap: Cap, amount: int, hours: float) -> None:
        """Raise somebody's budget for a time."""
        until, now = int(self.books.now + hours * HOUR), int(self.books.now)
        row = RaiseRow(new_id(), cap.whose, cap.name, cap.period, amount, until, "why", {"user": "ann"}, now)
        self.commit(lambda transaction: self.books.store.budgets.add_raise(transaction, row))

    @rule(hours=st.sampled_from([-25, -2, 0.01, 1, 5, 23, 25, 24 * 7, 24 * 31]))
    def turn(self, hours: float) -> None:
        """Let time pass, or set the clock back."""
        self.books.now += hours * HOUR
        self.tell_the_time()

    def tell_the_time(self) -> None:
        """Have the law know what time it is: raises end by themselves."""
        self.commit(lambda transaction: transaction.execute("UPDATE clock SET now = ?", (int(self.books.now),)))

    @invariant()
    def everything_is_counted(self) -> None:
        """Hold the books against what was billed, and the windows against the holds; the triggers hold the law."""
        held: dict[tuple[str, int], int] = {}
        for row in self.books.store.read(self.books.store.budgets.live):
            for key, start, amount in row.windows:
                held[key, start] = held.get((key, start), 0) + amount
        windows = "SELECT key, start, held FROM budget_windows WHERE held > 0"
        cost = "SELECT coalesce(sum(cost), 0) FROM budget_holds WHERE state = 'settled'"

        counted = self.books.store.read(lambda connection: connection.execute(windows).fetchall())
        spent = self.books.store.read(lambda connection: connection.execute(cost).fetchone())[0]

        gone = {place for place in held if place[0].startswith("tokens:")}  # minutes that are long over
        assert {(key, start): amount for key, start, amount in counted}.items() <= held.items()
        assert {place for place in held if held[place]} - gone <= {(key, start) for key, start, _ in counted}
        assert spent == self.billed


@pytest.mark.slow
class TestTheLaw(Spending.TestCase):  # type: ignore[misc, valid-type] # hypothesis makes the class when it runs
    """Issue 7: the law, with many interleavings."""

    settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.anyio
async def test_two_hundred_callers_at_once_spend_no_more_than_there_is(books: Books) -> None:
    """model-gateway.md §6: 200 at once on a dollar whose holds are two cents; no commit breaks the law."""
    caps = (*budget(daily_usd=1), *budget("team", "finance", monthly_usd=1))
    await books.commit(lay_down(caps))
    spent: list[int] = []
    refused: list[type[Exception]] = []

    async def call() -> None:
        hold = books.hold(caps, asking(10_000, 10_000))
        try:
            await books.commit(hold.begin)
        except (BudgetExhausted, BudgetHeld) as refusal:
            refused.append(type(refusal))
            return
        for _ in range(random.randint(0, 5)):  # noqa: S311 - no secret
            await anyio.lowlevel.checkpoint()
        hold.used(Usage(10_000, random.randint(0, 10_000)))  # noqa: S311 - no secret
        await books.commit(hold.settle)
        assert hold.cost is not None
        spent.append(hold.cost)

    while BudgetExhausted not in refused:
        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(call)

    assert len(spent) >= 50
    assert BudgetHeld in refused
    assert books.windows() == [(sum(spent), 0)] * 2
    assert DOLLAR - 20_000_000 < sum(spent) <= DOLLAR


@pytest.mark.anyio
async def test_the_law_is_one_that_can_be_broken(books: Books) -> None:
    """A check that cannot fail shows nothing."""
    (cap,) = budget(daily_usd=2)
    await books.commit(lay_down(budget(daily_usd=1)))

    await books.begun((cap,), asking(900_000))

    with pytest.raises(Exception, match="the law is broken"):
        await books.begun((cap,), asking(200_000))


@pytest.mark.anyio
async def test_a_change_that_fails_beside_a_hold_takes_the_hold_with_it(books: Books) -> None:
    """pipeline: what a call holds is one commit with its records, or nothing."""
    hold = books.hold(budget(daily_usd=1), asking(1_000))

    def begin(transaction: Transaction) -> None:
        hold.begin(transaction)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await books.commit(begin)

    assert books.windows() == []
    await books.commit(hold.settle)
    assert (books.windows(), ANALYST.team) == ([], "finance")
