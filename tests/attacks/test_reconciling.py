"""A provider that lies about what a call has cost, so that money comes back which it has billed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.testing.models import ModelService
from tests.support.models import Gateway, open_gateway
from tests.support.notes import NotesService
from tests.support.reconciling import HOUR, leave, look, spent, told


@pytest.fixture
def budgeted(notes_service: NotesService, tmp_path: Path) -> Iterator[Gateway]:
    """Serve a gateway whose agent has a budget, and a service that knows no generation yet."""
    with (
        ModelService(tmp_path) as service,
        open_gateway(tmp_path / "access", notes_service, service, budget="{daily_usd: 0.01}") as gateway,
    ):
        yield gateway


@pytest.mark.parametrize(
    "says",
    [
        {"id": "gen-another", "total_cost": 0},
        {"total_cost": -1},
        {"total_cost": "NaN"},
        {"total_cost": None},
        {"is_byok": True},
        {},
    ],
    ids=str,
)
def test_a_provider_that_lies_is_asked_so_often_and_no_more(budgeted: Gateway, says: dict[str, Any]) -> None:
    """Money is never given back for work that may have been billed."""
    call_id = leave(budgeted, generation="gen-lie", says=says, late=0 if says else 99)
    before = spent(budgeted)

    known = [look(budgeted, day * 24 * HOUR) for day in range(1, 20)]

    assert not any(known)
    assert spent(budgeted) == before
    assert told(budgeted, call_id)[1] == ["upper_bound"]
    assert budgeted.service.lookups == ["gen-lie"] * 8
    assert not budgeted.broker.records(kind="budget_reconciled")


@pytest.mark.parametrize("cost", [0.5, 1e30])
def test_more_than_the_bound_is_an_overrun(budgeted: Gateway, cost: float) -> None:
    """As wherever a provider bills more: it counts, it is alarmed, and its model rests."""
    leave(budgeted, generation="gen-dear", says={"total_cost": cost})

    look(budgeted, 30)
    look(budgeted, HOUR)

    (record,) = budgeted.broker.records(kind="budget_overrun")
    assert record["cost"] == spent(budgeted) > record["held"]
    budgeted.behaves(openrouter=True)
    assert budgeted.chat("routed", max_tokens=10).json()["error"]["code"] == "target_overran"


def test_an_id_from_another_kind_of_service_is_asked_for_nowhere(budgeted: Gateway) -> None:
    """Only OpenRouter knows generations: a header alone has the broker call nothing."""
    leave(budgeted, "small", generation="gen-of-openai")

    assert look(budgeted, HOUR) == 0
    assert not budgeted.service.lookups


def test_the_id_of_a_cheap_call_gives_nothing_back_of_a_dear_one(budgeted: Gateway) -> None:
    """Only for that generation, and only where it was received on that very attempt: one id is one call's."""
    leave(budgeted, generation="gen-cheap", says={"total_cost": 0})
    look(budgeted, 30)
    assert look(budgeted, HOUR) == 1
    dear = leave(budgeted, generation="gen-cheap")
    before = spent(budgeted)

    assert [look(budgeted, later) for later in (2 * HOUR, 4 * HOUR, 8 * HOUR)] == [0, 0, 0]
    assert spent(budgeted) == before > 0
    assert told(budgeted, dear)[1] == ["upper_bound"]


def test_what_a_stream_or_a_caller_calls_it_is_asked_for_nowhere(budgeted: Gateway) -> None:
    """Neither an id in the answer's events, nor one of the caller's headers, is OpenRouter's word for the call."""
    budgeted.service.generations["gen-mine"] = [0, {"id": "gen-mine", "total_cost": 0, "is_byok": False}]
    events = ({"id": "gen-mine", "choices": [{"index": 0, "delta": {"content": "x"}}]},)
    budgeted.behaves(events=events)
    body = {"model": "routed", "messages": [], "max_tokens": 50, "stream": True}

    budgeted.post("/v1/chat/completions", body, {"X-Generation-Id": "gen-mine"})

    assert [look(budgeted, later) for later in (30, HOUR)] == [0, 0]
    assert not budgeted.service.lookups
    assert spent(budgeted) > 0
