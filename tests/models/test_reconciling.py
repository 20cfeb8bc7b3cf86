"""What a cut call through OpenRouter has really cost is asked afterwards, and given back where it was billed less."""

from pathlib import Path

import pytest

from broker.cli.trail.story import Told, lines_of
from broker.testing.models import ModelService
from tests.support.broker import ServedBroker
from tests.support.documents import write_documents
from tests.support.metrics import scraped
from tests.support.models import Gateway, Providers, add_keys, model_documents
from tests.support.notes import NotesService
from tests.support.reconciling import HOUR, leave, look, spent, told

BILLED = 625_000
ROUTED = {"route": "routed", "provider": "openrouter", "model": "vendor/model"}


@pytest.fixture
def budgeted(poor: Gateway) -> Gateway:
    """Lend a gateway whose agent has a budget, and whose OpenRouter has forgotten other tests."""
    poor.service.generations.clear()
    poor.service.lookups.clear()
    return poor


def test_a_call_that_was_left_costs_in_the_end_what_was_billed(budgeted: Gateway) -> None:
    """Reference §5.4: reconcile later from `/generation`; believed once it is said twice, and on record."""
    call_id = leave(budgeted, generation="gen-left")
    (attempt,) = budgeted.finished()["attempts"]
    at_first = spent(budgeted)

    asked_too_early, once, twice, again = (look(budgeted, later) for later in (0, 30, 2 * HOUR, 5 * HOUR))

    assert (asked_too_early, once, twice, again) == (0, 0, 1, 0)
    assert (attempt["cost_source"], at_first) == ("upper_bound", attempt["held"])
    assert spent(budgeted) == BILLED < at_first
    assert told(budgeted, call_id) == ("0.000625", ["reconciled"])
    (record,) = budgeted.broker.records(kind="budget_reconciled")
    assert (record["asked_by_call"], record["generation"]) == (call_id, "gen-left")
    assert (record["counted_before"], record["cost"]) == (at_first, BILLED)
    assert record["credential"]["kind"] == "api-key"
    costs = budgeted.broker.operators.get(f"/v1/trail/calls/{call_id}/costs")
    lines = [text for _, text in lines_of(Told(budgeted.broker.records(call_id=call_id), [], [], "", costs))]
    assert "$0.000625, as the provider said afterwards" in lines
    assert budgeted.service.lookups == ["gen-left"] * 2


def test_what_was_given_back_is_a_metric(budgeted: Gateway) -> None:
    """The dollars by upper bound only grow; what was not billed of them is counted beside."""
    leave(budgeted, generation="gen-counted")
    before = spent(budgeted)

    look(budgeted, 30)
    look(budgeted, HOUR)

    given_back = scraped(budgeted.broker).value("aam_model_cost_given_back_usd_total", **ROUTED)
    assert given_back == pytest.approx((before - BILLED) / 10**9)


def test_an_answer_without_usage_is_asked_for_too(budgeted: Gateway) -> None:
    """OpenRouter's answer had no usable usage, and an id."""
    budgeted.behaves(openrouter=True, usage=None, generation="gen-silent", cost=0)
    call_id = budgeted.chat("routed", max_tokens=50).headers["x-request-id"]

    look(budgeted, 30)
    look(budgeted, HOUR)

    assert told(budgeted, call_id) == ("0.00", ["reconciled"])


def test_openrouter_may_know_it_late(budgeted: Gateway) -> None:
    """It is asked a few times, further and further apart: 404 at first is how it is."""
    call_id = leave(budgeted, generation="gen-late", late=2)

    known = [look(budgeted, later) for later in (30, 300, 900, 3 * HOUR)]

    assert known == [0, 0, 0, 1]
    assert told(budgeted, call_id) == ("0.000625", ["reconciled"])


def test_a_cost_that_changes_is_not_believed_yet(budgeted: Gateway) -> None:
    """It is believed when it is said twice: what is still being counted would be too little."""
    call_id = leave(budgeted, generation="gen-growing", says={"total_cost": 0})
    look(budgeted, 30)
    budgeted.service.generations["gen-growing"][1]["total_cost"] = 0.0001

    assert look(budgeted, HOUR) == 0
    assert look(budgeted, 3 * HOUR) == 1
    assert told(budgeted, call_id) == ("0.0001", ["reconciled"])


def test_a_revoked_account_is_not_used_and_the_call_stays_at_its_bound(budgeted: Gateway) -> None:
    """The account that was billed is asked, and no other."""
    call_id = leave(budgeted, generation="gen-orphan")
    budgeted.broker.operators.delete("/v1/grants/openrouter")
    budgeted.broker.await_(add_keys, budgeted.broker.parts, ("openrouter",))

    assert [look(budgeted, later) for later in (30, HOUR, 3 * HOUR)] == [0, 0, 0]
    assert not budgeted.service.lookups
    assert told(budgeted, call_id)[1] == ["upper_bound"]


def test_what_is_still_to_be_asked_outlives_the_broker(
    notes_service: NotesService, model_service: ModelService, tmp_path: Path
) -> None:
    """It stands in the store: whoever starts next asks."""
    written = write_documents(tmp_path / "access", notes_service)
    (tmp_path / "access" / "models-ca.pem").write_text(model_service.authority)
    for name, text in model_documents(model_service.url, budget="{daily_usd: 1}"):
        written.put(name, text)
    with ServedBroker(written, Providers()) as broker:
        broker.await_(add_keys, broker.parts)
        call_id = leave(Gateway(broker, model_service), generation="gen-restart")
        look(Gateway(broker, model_service), 30)

    with ServedBroker(written, Providers(), grant=False) as broker:
        again = Gateway(broker, model_service)
        known = look(again, HOUR)

        assert known == 1
        assert told(again, call_id) == ("0.000625", ["reconciled"])
