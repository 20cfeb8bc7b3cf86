"""A cost that becomes known later takes the place of its bound: once, exactly, and where it is said plainly."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.budget import Hold, UsageUnusable
from broker.budget.reconciling import cost_billed, reconcile
from broker.store import LookupRow, Transaction
from tests.budget.conftest import DOLLAR, Books, asking, budget

DATA = {"id": "gen-1", "total_cost": 0.000625, "is_byok": False, "upstream_inference_cost": None}
CAPS = (*budget(daily_usd=1), *budget("team", "finance", monthly_usd=5))


def said(**members: Any) -> bytes:
    """Return an answer of `/generation`."""
    return json.dumps({"data": {**DATA, **members}}).encode()


@pytest.mark.parametrize(
    ("members", "cost"),
    [
        ({}, 625_000),
        ({"total_cost": 0}, 0),
        ({"total_cost": 2}, 2 * DOLLAR),
        ({"total_cost": 1e-12}, 1),
        ({"is_byok": True, "upstream_inference_cost": 0.5}, 500_625_000),
        ({"is_byok": False, "upstream_inference_cost": 0.5}, 625_000),
    ],
)
def test_what_was_billed_is_an_amount_rounded_up(members: dict[str, Any], cost: int) -> None:
    """Reference §7: with one's own key, what the provider behind it bills is billed, too."""
    assert cost_billed(said(**members), "gen-1") == cost


LIES: tuple[bytes, ...] = (
    said(id="gen-2"),
    said(id=None),
    said(id=["gen-1"]),
    said(total_cost=-0.5),
    said(total_cost=float("nan")),
    said(total_cost=float("inf")),
    said(total_cost=float("-inf")),
    said(total_cost="0.0"),
    said(total_cost=None),
    said(total_cost=False),
    said(total_cost={}),
    said(is_byok=None),
    said(is_byok="false"),
    said(is_byok=True),
    said(is_byok=True, upstream_inference_cost=-1),
    said(is_byok=True, upstream_inference_cost="0"),
    json.dumps(DATA).encode(),
    b'{"data": {"total_cost": 0.1, "is_byok": false}}',
    b'{"data": {"id": "gen-1", "is_byok": false}}',
    b'{"data": {"id": "gen-1", "is_byok": false, "total_cost": 1e99999999999999999999}}',
    b'{"data": {"id": "gen-1", "is_byok": false, "total_cost": ' + b"9" * 5000 + b"}}",
    b"[]",
    b"null",
    b"",
    b"\xff",
    b"[" * 100_000,
    b"{" + b" " * 70_000 + said()[1:],
)


@pytest.mark.parametrize("body", LIES, ids=lambda body: body[:60].decode("latin-1"))
def test_what_is_no_statement_of_that_generation_is_not_believed(body: bytes) -> None:
    """Money is never given back for work that may have been billed."""
    with pytest.raises(UsageUnusable):
        cost_billed(body, "gen-1")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_is_said_is_an_amount_or_nothing(body: bytes) -> None:
    """A provider may say anything."""
    with contextlib.suppress(UsageUnusable):
        assert cost_billed(body, "gen-1") >= 0


async def bounded(books: Books, generation: str = "gen-1") -> Hold:
    """Return a hold of half a dollar that is spent in full, as nobody knew what it cost."""
    hold = await books.begun(CAPS, asking(400_000, 100_000))
    hold.known_as(generation, "the-grant")
    await books.commit(hold.settle)
    return hold


def lookups(books: Books) -> list[LookupRow]:
    """Return what is still to be asked."""
    return books.store.read(lambda connection: books.store.lookups.due(connection, 2**53, 9))


async def learn(books: Books, row: LookupRow, cost: int) -> int | None:
    """Learn what a call has cost; return how much less that is than what counted."""

    def change(transaction: Transaction) -> int | None:
        found = reconcile(books.store, transaction, row, cost, CAPS, None)
        return None if found is None else found.less

    found: int | None = await books.commit(change)
    return found


@pytest.mark.anyio
async def test_the_difference_comes_back_in_the_windows_of_the_call_once(books: Books) -> None:
    """Window = the call's, even where others have begun since; said again, nothing more comes back."""
    await bounded(books)
    books.now += 24 * 3600
    await books.begun(CAPS, asking(1000))
    (row,) = lookups(books)

    before = books.windows()
    learned, again = await learn(books, row, 625_000), await learn(books, row, 0)

    assert (learned, again) == (DOLLAR // 2 - 625_000, None)
    assert before == [(DOLLAR // 2, 0), (0, 1_000_000), (DOLLAR // 2, 1_000_000)]
    assert books.windows() == [(625_000, 0), (0, 1_000_000), (625_000, 1_000_000)]
    assert books.kinds().count("budget_reconciled") == 1
    assert not lookups(books)


@pytest.mark.anyio
async def test_a_cost_above_the_bound_is_an_overrun_like_any_other(books: Books) -> None:
    """It counts in full, it is on record, and the model rests until somebody has looked."""
    hold = await bounded(books)
    (row,) = lookups(books)

    await learn(books, row, hold.amount + 7)

    assert books.windows() == [(hold.amount + 7, 0)] * 2
    assert books.kinds()[-2:] == ["budget_reconciled", "budget_overrun"]
    (overrun,) = books.store.read(books.store.budgets.overruns)
    assert (overrun["id"], overrun["overrun"]) == (hold.id, 7)


@pytest.mark.anyio
async def test_an_overrun_counts_for_the_next_call_of_the_same_commit(books: Books) -> None:
    """Overruns are read once in a commit: a cost that is learned in it has them read again."""
    hold = await bounded(books)
    (row,) = lookups(books)

    def change(transaction: Transaction) -> list[bool]:
        before = books.store.budgets.has_overrun(transaction, hold.target.provider, hold.target.model)
        reconcile(books.store, transaction, row, hold.amount + 1, CAPS, None)
        return [before, books.store.budgets.has_overrun(transaction, hold.target.provider, hold.target.model)]

    assert await books.commit(change) == [False, True]


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["charged", "unsent", "unnamed"])
async def test_what_is_known_or_has_no_id_is_not_asked_for(books: Books, how: str) -> None:
    """Only a call that counts at its bound has anything to come back."""
    hold = await books.begun(CAPS, asking(400_000))
    if how != "unnamed":
        hold.known_as("gen-1", "the-grant")
    if how == "charged":
        hold.charged(5)
    elif how == "unsent":
        hold.unsent()

    await books.commit(hold.settle)

    assert not lookups(books)


@pytest.mark.anyio
async def test_one_generation_is_never_that_of_two_calls(books: Books) -> None:
    """A cheap generation's id on a dear call gives nothing back, not even after the first was settled."""
    first = await bounded(books, "gen-1")
    (row,) = lookups(books)
    await learn(books, row, 1)
    second = await bounded(books, "gen-1")

    assert not lookups(books)
    assert first.id != second.id
    assert books.windows() == [(1 + second.amount, 0)] * 2


@pytest.mark.anyio
async def test_what_the_trail_forgets_is_forgotten_here_too(books: Books) -> None:
    """Lookups go with the holds of their calls."""
    await bounded(books)
    later = int(books.now) + 70 * 86_400

    def forget(transaction: Transaction) -> None:
        books.store.lookups.forget(transaction, ["call"])
        assert transaction.execute("SELECT count(*) FROM budget_lookups").fetchone() == (1,)
        books.store.budgets.forget(transaction, ["call"], later)
        books.store.lookups.forget(transaction, ["call"])

    await books.commit(forget)

    assert not lookups(books)
