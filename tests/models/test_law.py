"""The law at the models door: whatever providers and callers do, spent and held never exceed the budget."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from broker.policy import BudgetPart, money_caps
from broker.testing.models import Behaviour, ModelService
from tests.budget.test_law import lay_down
from tests.support.broker import until
from tests.support.documents import ANALYST
from tests.support.models import Gateway, asked, open_gateway
from tests.support.notes import NotesService

LIMIT = 0.02
CALLS, CALLERS = 240, 24
NANO = 10**9
BEYOND = {"input": 11, "output": 600}
WORDS = tuple(f" word{number}" for number in range(12))
FAULTS = (
    Behaviour(),
    Behaviour(words=WORDS),
    Behaviour(usage=None),
    Behaviour(usage={"input": 3, "output": -5}),
    Behaviour(status=429),
    Behaviour(status=500),
    Behaviour(status=503),
    Behaviour(words=WORDS, stops_after=3),
    Behaviour(words=WORDS, drops_after=3),
    Behaviour(words=WORDS, fails_after=2),
)


@pytest.fixture
def gateway(notes_service: NotesService, model_service: ModelService, tmp_path: Path) -> Iterator[Gateway]:
    """Serve a gateway whose agent may spend two cents a day, and whose database refuses what breaks the law."""
    model_service.next, model_service.seen = [], []
    with open_gateway(tmp_path / "access", notes_service, model_service, budget=f"{{daily_usd: {LIMIT}}}") as gateway:
        gateway.behaves()
        part = BudgetPart(daily_usd=LIMIT)
        caps = tuple(money_caps(part, "agent", ANALYST, "analyst-models"))
        gateway.broker.await_(gateway.broker.parts.store.commits.commit, lay_down(caps))
        yield gateway


def window(gateway: Gateway) -> tuple[int, int]:
    """Return what the day has spent and held."""
    query = "SELECT spent, held FROM budget_windows"
    ((spent, held),) = gateway.broker.parts.store.read(lambda connection: connection.execute(query).fetchall())
    return spent, held


def attempts(gateway: Gateway) -> list[dict[str, object]]:
    """Return every attempt that is on record."""
    return [one for end in gateway.broker.records(kind="finished") for one in end["outcome"].get("attempts", [])]


@pytest.mark.slow
def test_whatever_goes_wrong_everything_is_settled_once_and_nothing_is_overspent(gateway: Gateway) -> None:
    """Issue 7: hundreds of callers, disconnects at any chunk, upstreams that omit usage, stall or lie."""
    random.seed(7)
    gateway.service.next = [random.choice(FAULTS) for _ in range(2 * CALLS)]  # noqa: S311 - no secret

    def call(number: int) -> int:
        body = {**asked("twice" if number % 2 else "small"), "max_tokens": 40, "stream": number % 3 > 0}
        headers = {"Authorization": f"Bearer {gateway.broker.token()}"}
        url = f"{gateway.broker.url}/v1/chat/completions"
        try:
            with requests.post(url, json=body, headers=headers, timeout=60, stream=True) as answer:
                if number % 5 == 0:
                    for _, _ in zip(range(number % 4), answer.iter_lines(), strict=False):
                        pass
                    return answer.status_code  # and goes, in the midst of it
                _ = answer.content
                return answer.status_code
        except requests.RequestException:
            return 0

    with ThreadPoolExecutor(CALLERS) as pool:
        statuses = list(pool.map(call, range(CALLS)))

    until(lambda: window(gateway)[1] == 0)
    spent, _ = window(gateway)
    assert spent <= LIMIT * NANO
    assert spent == sum(int(str(one["cost"])) for one in attempts(gateway))
    assert {one["cost_source"] for one in attempts(gateway)} == {"usage", "upper_bound", "unsent"}
    assert all(one["cost"] == one["held"] for one in attempts(gateway) if one["cost_source"] == "upper_bound")
    assert {200, 402} <= set(statuses)


def test_output_beyond_the_cap_is_an_overrun_and_its_model_rests_until_somebody_has_looked(gateway: Gateway) -> None:
    """Issue 7: an upstream that ignores the cap is recorded and alarmed, and blocks further calls."""
    gateway.broker.await_(_overrunning, gateway)
    gateway.behaves(words=tuple(f" word{number}" for number in range(600)), ignores_cap=True, usage=BEYOND)
    gateway.chat("small", max_tokens=20)
    gateway.behaves()

    refused, elsewhere = gateway.chat("small", max_tokens=20), gateway.chat("twice", max_tokens=20)
    (record,) = gateway.broker.records(kind="budget_overrun")
    gateway.broker.operators.post(f"/v1/budgets/overruns/{record['hold']}/acknowledge", {"reason": "Told them"})

    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "target_overran")
    assert elsewhere.json()["model"] == "llama"
    assert gateway.chat("small", max_tokens=20).status_code == 200
    assert record["cost"] > record["held"]


async def _overrunning(gateway: Gateway) -> None:
    """Take the law's trigger for settlements away: what is to happen does break it, and must be seen to."""
    change = "DROP TRIGGER settling"
    await gateway.broker.parts.store.commits.commit(lambda transaction: transaction.execute(change).close())


def test_a_fallback_may_hold_what_the_attempt_before_it_gave_back(gateway: Gateway) -> None:
    """model-gateway.md §5.4: an attempt is settled before the next one holds, in one commit with it."""
    gateway.behaves(Behaviour(status=429))

    answer = gateway.chat("twice", max_tokens=1_200)

    first, second = gateway.finished()["attempts"]
    assert answer.status_code == 200
    assert first["cost"] == 0
    assert first["held"] + second["held"] > LIMIT * NANO
