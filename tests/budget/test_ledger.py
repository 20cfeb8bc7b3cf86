import contextlib
import dataclasses
import datetime
import zoneinfo
from collections import Counter

import pytest

from broker.budget import Usage, usd
from broker.errors import BudgetExhausted, BudgetHeld, LimitReached, PriceUnknown, TargetOverran
from broker.policy import Allowance, ModelLimitsPart, count_caps
from tests.budget.conftest import ANALYST, DOLLAR, NOON, TARGET, WORKLOAD, Books, asking, budget

pytestmark = pytest.mark.anyio
DAY = 86_400


async def test_what_a_call_may_cost_is_held_and_what_it_has_cost_is_spent(books: Books) -> None:
    """model-gateway.md §5.4: the bound is held in the first commit, and only what was used is spent."""
    hold = await books.begun(budget(daily_usd=1), asking(1_000, 4_000))
    assert books.windows() == [(0, 5_000_000)]

    hold.used(Usage(900, 100))
    await books.commit(hold.settle)

    assert books.windows() == [(1_000_000, 0)]
    assert hold.cost == 1_000_000


async def test_a_call_is_held_in_every_window_or_in_none(books: Books) -> None:
    """model-gateway.md §5.4: all rows must match, else nothing is held."""
    team, person = budget("team", "finance", weekly_usd=0.004), budget("owner", "jane@example.com", monthly_usd=1)
    caps = (*budget(daily_usd=1), *person, *team)

    with pytest.raises(BudgetExhausted):
        await books.begun(caps, asking(1_000, 4_000))

    assert books.windows() == []
    await books.begun(caps, asking(1_000, 3_000))
    assert books.windows() == [(0, 4_000_000)] * 3


async def test_a_settlement_counts_once(books: Books) -> None:
    """model-gateway.md §5.4: an idempotent compare-and-set; only the winner moves what was held."""
    hold = await books.begun(budget(daily_usd=1), asking(1_000))
    hold.used(Usage(500, 0))

    for _ in range(3):
        await books.commit(hold.settle)

    assert books.windows() == [(500_000, 0)]


async def test_without_a_word_of_what_it_cost_all_that_was_held_is_spent(books: Books) -> None:
    """Issue 7: money is never given back for work that may have been billed."""
    hold = await books.begun(budget(daily_usd=1), asking(1_000, 1_000))

    await books.commit(hold.settle)

    assert books.windows() == [(2_000_000, 0)]
    assert hold.record()["cost_source"] == "upper_bound"


async def test_what_was_never_sent_costs_nothing(books: Books) -> None:
    """model-gateway.md §5.4: an error before any byte was accepted settles nothing."""
    hold = await books.begun(budget(daily_usd=1), asking(1_000))
    hold.unsent()

    await books.commit(hold.settle)

    assert books.windows() == [(0, 0)]


async def test_a_hold_that_failed_settles_nothing(books: Books) -> None:
    """A call that was refused ends like any other; what it never held it does not give back."""
    caps = budget(daily_usd=0.001)
    hold = books.hold(caps, asking(2_000))
    with pytest.raises(BudgetExhausted):
        await books.commit(hold.begin)

    await books.commit(hold.settle)

    assert books.windows() == []


async def test_exhausted_says_when_it_resets_and_what_would_fit(books: Books) -> None:
    """Issue 7: exhausted is for whoever should not ask again; the answer says what would fit."""
    caps = budget(daily_usd=0.01)
    spent = await books.begun(caps, asking(9_000))
    await books.commit(spent.settle)

    with pytest.raises(BudgetExhausted) as refused:
        await books.begun(caps, asking(400, 4_000))

    assert refused.value.facts["resets_at"] == "2026-11-29T00:00:00Z"
    assert refused.value.facts["affordable_output_tokens"] == 600
    await books.begun(caps, asking(400, 600))


async def test_held_by_others_is_another_thing_than_exhausted(books: Books) -> None:
    """Issue 7: what running calls hold may come back, so trying again helps."""
    caps = budget(daily_usd=0.01)
    running = await books.begun(caps, asking(9_000))
    with pytest.raises(BudgetHeld) as refused:
        await books.begun(caps, asking(2_000))
    assert refused.value.facts["retry_after"] > 0

    running.used(Usage(1_000, 0))
    await books.commit(running.settle)

    await books.begun(caps, asking(2_000))


async def test_a_call_that_no_window_could_ever_hold_is_told_so(books: Books) -> None:
    """A reset helps nobody whose call costs more than the whole budget."""
    with pytest.raises(BudgetExhausted, match=r"is \$0\.01;") as refused:
        await books.begun(budget(daily_usd=0.01), asking(400, 40_000))

    assert refused.value.facts == {"resets_at": None, "affordable_output_tokens": 9_600, "budget": "the-policy"}


async def test_clamping_lowers_the_output_cap_to_what_fits(books: Books) -> None:
    """model-gateway.md §5.5: on_insufficient: clamp, down to min_output_tokens and no further."""
    caps = budget(daily_usd=0.01, on_insufficient="clamp", min_output_tokens=500)

    hold = await books.begun(caps, asking(1_000, 40_000))

    assert (hold.output_tokens, hold.amount) == (9_000, DOLLAR // 100)
    hold.used(Usage(1_000, 8_600))
    await books.commit(hold.settle)
    with pytest.raises(BudgetExhausted):
        await books.begun(caps, asking(0, 40_000))


async def test_one_budget_that_rejects_is_enough(books: Books) -> None:
    """Several policies: every budget applies, as it is written."""
    caps = (*budget(daily_usd=1, on_insufficient="clamp"), *budget("team", "finance", daily_usd=0.01))

    with pytest.raises(BudgetExhausted):
        await books.begun(caps, asking(1_000, 40_000))


async def test_another_day_is_another_window_and_a_call_stays_in_its_own(books: Books) -> None:
    """model-gateway.md §5.4: no reset job; a request settles into the window it was admitted in."""
    caps = budget(daily_usd=0.01)
    late = await books.begun(caps, asking(10_000))

    books.now += DAY
    await books.begun(caps, asking(10_000))
    await books.commit(late.settle)

    assert books.windows() == [(10_000_000, 0), (0, 10_000_000)]


async def test_a_budget_that_is_new_counts_what_was_spent_before(books: Books) -> None:
    """A budget written at noon is for the whole day, and a change of its time zone begins nothing anew."""
    before = await books.begun((), asking(9_000))
    before.used(Usage(9_000, 0))
    await books.commit(before.settle)

    for zone in ("UTC", "Europe/Berlin"):
        with pytest.raises(BudgetExhausted):
            await books.begun(budget(daily_usd=0.01, timezone=zone), asking(2_000))
    for whose, name in (("team", "finance"), ("owner", "jane@example.com"), ("organisation", "")):
        with pytest.raises(BudgetExhausted):
            await books.begun(budget(whose, name, daily_usd=0.01), asking(2_000))
    await books.begun(budget("team", "another", daily_usd=0.01), asking(2_000))


async def test_a_limit_of_tokens_that_is_new_counts_calls_that_say_nothing_of_theirs(books: Books) -> None:
    """A call whose usage nobody knows used all that it could: in a window that is made late, too."""
    before = await books.begun((), asking(9_000))
    await books.commit(before.settle)

    with pytest.raises(LimitReached):
        await books.begun(tuple(count_caps(ModelLimitsPart(tokens_per_minute=10_000), WORKLOAD, "p")), asking(2_000))


async def test_what_has_no_price_is_refused_where_money_counts(books: Books) -> None:
    """Issue 7: unpriced models are refused when a budget applies; without one they are counted as unpriced."""
    with pytest.raises(PriceUnknown):
        await books.begun(budget(daily_usd=1), asking(1), rates=None)

    hold = await books.begun((), asking(1), rates=None)
    hold.used(Usage(1, 1))
    await books.commit(hold.settle)

    assert hold.record()["cost"] is None


async def test_an_overrun_is_spent_recorded_and_blocks_the_target(books: Books) -> None:
    """Issue 7: spent exceeds a hold only where a provider broke the cap; then it is counted, alarmed, and blocks."""
    caps = budget(daily_usd=0.01)
    hold = await books.begun(caps, asking(1_000, 1_000))
    hold.used(Usage(1_000, 49_000))
    await books.commit(hold.settle)

    assert books.windows() == [(50_000_000, 0)]
    assert "budget_overrun" in books.kinds()
    more = budget(daily_usd=100)
    with pytest.raises(TargetOverran):
        await books.begun(more, asking(1))
    await books.begun(more, asking(1), target=dataclasses.replace(TARGET, model="another"))


async def test_a_clock_that_is_set_back_brings_no_budget_back(books: Books) -> None:
    """Issue 7: each window is spent once, in whatever order the clock goes through them."""
    caps = budget(daily_usd=0.01)
    for days in (0, 1, -1, 1, 0):
        books.now += days * DAY
        with contextlib.suppress(BudgetExhausted):
            hold = await books.begun(caps, asking(10_000))
            await books.commit(hold.settle)

    assert books.windows() == [(10_000_000, 0), (10_000_000, 0)]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("America/Santiago", "2026-04-04"),
        ("America/Santiago", "2026-09-06"),
        ("Australia/Lord_Howe", "2026-04-05"),
        ("Australia/Lord_Howe", "2026-10-04"),
    ],
)
async def test_each_day_is_spent_once_when_the_clocks_change(books: Books, zone: str, day: str) -> None:
    """Issue 7: both daylight-saving days in three time zones; every local date has one budget, however long it is."""
    caps, there = budget(daily_usd=0.003, timezone=zone), zoneinfo.ZoneInfo(zone)
    books.now = datetime.datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=there).timestamp() - DAY
    dates: Counter[datetime.date] = Counter()
    for _ in range(2 * 72):
        with contextlib.suppress(BudgetExhausted):
            hold = await books.begun(caps, asking(1_000))
            await books.commit(hold.settle)
            dates[datetime.datetime.fromtimestamp(books.now, there).date()] += 1
        books.now += DAY / 48

    assert set(dates.values()) == {3}
    assert len(dates) == 4


async def test_what_a_dead_process_sent_is_spent_and_what_it_never_sent_is_given_back(books: Books) -> None:
    """model-gateway.md §5.4: a crash after dispatch charges the full hold."""
    caps = budget(daily_usd=1)
    await books.begun(caps, asking(1_000, 1_000))
    reserved = books.hold(caps, asking(5_000))
    await books.commit(reserved.reserve)
    assert books.windows() == [(0, 7_000_000)]

    found = await Books(books.store).ledger.recover()

    assert (found.released, found.charged, usd(found.cost)) == (1, 1, "0.002")
    assert books.windows() == [(2_000_000, 0)]
    assert books.kinds() == ["budget_recovered"]
    assert (await books.ledger.recover()).charged == 0


async def test_a_threshold_is_on_record_once_in_each_window(books: Books) -> None:
    """Issue 7: alerts at thresholds."""
    caps = budget(daily_usd=0.01, alerts=[50, 90])
    for tokens in (4_000, 2_000, 1_000, 2_500):
        hold = await books.begun(caps, asking(tokens))
        await books.commit(hold.settle)

    assert books.kinds() == ["budget_alerted", "budget_alerted"]


async def test_requests_and_tokens_are_limited_in_each_minute(books: Books) -> None:
    """Issue 7: limits in requests and tokens per minute."""
    part = ModelLimitsPart(requests_per_minute=2, tokens_per_minute=10_000)
    caps = tuple(count_caps(part, WORKLOAD, "the-policy"))
    first = await books.begun(caps, asking(1_000, 8_000))
    with pytest.raises(LimitReached, match="10000 tokens a minute") as refused:
        await books.begun(caps, asking(1_000, 1_000))
    assert refused.value.facts["retry_after"] == 60

    first.used(Usage(500, 500))
    await books.commit(first.settle)
    await books.begun(caps, asking(1_000, 1_000))
    with pytest.raises(LimitReached, match="2 requests a minute"):
        await books.begun(caps, asking(1))

    books.now += 60
    await books.begun(caps, asking(1))
    with pytest.raises(LimitReached) as never:
        await books.begun(caps, asking(11_000))
    assert never.value.facts["retry_after"] is None


async def test_calls_at_once_are_limited_by_each_policy(books: Books) -> None:
    """Issue 7: concurrent calls; a place is free again however a call ends."""
    allowance = Allowance((), (("one", 2), ("other", 1)))

    with books.ledger.running(WORKLOAD, allowance):
        with pytest.raises(LimitReached, match="Policy other"), books.ledger.running(WORKLOAD, allowance):
            pass
        with books.ledger.running("spiffe://prod/agent/another", allowance):
            pass

    assert not books.ledger._running
    assert (ANALYST.workload, NOON.timestamp()) == (WORKLOAD, books.now)
