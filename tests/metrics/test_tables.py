from typing import Any

import pytest

from broker.catalog import catalog_tool
from broker.connector import Tool
from broker.metrics.calls import CallMeters
from broker.metrics.tables import OTHER, Count, Table, Times
from broker.pipeline import Ended


def ended(**changes: object) -> Ended:
    """Return how a call of nothing in particular has ended."""
    given: dict[str, object] = {
        "model": False, "agent": None, "called": None, "decision": None, "status": "refused", "code": "unknown_tool",
        "attempts": (), "tries": (), "steps": {}, "seconds": 0.002,
    }  # fmt: skip
    return Ended(**{**given, **changes})  # type: ignore[arg-type] # by name


def test_labels_beyond_the_cap_are_counted_together() -> None:
    """Issue 7, metrics: bounded cardinality, whatever documents come and go; nothing that was counted is lost."""
    table = Table(Count, most=2)

    for name in ("a", "b", "c", "d", "a"):
        table.of((name, "x")).number += 1

    assert [(labels, count.number) for labels, count in table.rows()] == [
        (("a", "x"), 2),
        (("b", "x"), 1),
        ((OTHER, OTHER), 2),
    ]


@pytest.mark.parametrize(("seconds", "place"), [(0.0, 0), (1.0, 0), (1.5, 1), (2.0, 1), (2.5, 2)])
def test_a_bound_is_part_of_what_is_below_it(seconds: float, place: int) -> None:
    """Prometheus' buckets are `le`: less or equal."""
    times = Times((1.0, 2.0))

    times.add(seconds)

    assert times.counts.index(1) == place
    assert times.total == seconds


def test_what_the_broker_adds_is_all_but_the_services_answering() -> None:
    """Issue 7, metrics: added-by-us time; a call that no service has answered tells nothing of it."""
    answered = ended(steps={"recorded": 2_000, "executed": 902_000}, seconds=0.905)

    assert answered.added == pytest.approx(0.005)
    assert ended(steps={"recorded": 2_000}, seconds=0.905).added is None
    assert ended().added is None


def test_a_call_of_what_has_no_name_has_no_label() -> None:
    """Issue 7, metrics: unknown tool names never become labels."""
    meters = CallMeters()

    meters.ended(ended())

    assert labels_of(meters, "aam_calls") == [
        {"kind": "tool", "connector": "", "resource": "", "action": "", "status": "refused", "code": "unknown_tool"}
    ]


@pytest.mark.parametrize("serves", ["tool", "resource", "prompt", "subscription", "completion"])
def test_what_of_mcp_was_called_is_told_apart(serves: Any) -> None:
    """Issue 7, metrics: calls by kind."""
    tool = Tool("notes", "read", "Read.", {"type": "object"}, {"type": "object"}, reads_only=True, serves=serves)
    meters = CallMeters()

    meters.ended(ended(called=catalog_tool("up", tool), status="released", code=None))

    (labels,) = labels_of(meters, "aam_calls")
    assert labels == {
        "kind": serves, "connector": "up", "resource": "up.notes", "action": "read", "status": "released", "code": "",
    }  # fmt: skip


def test_a_read_that_was_made_again_says_why() -> None:
    """Issue 7, metrics: attempts by reason, of tools too."""
    tool = Tool("notes", "read", "Read.", {"type": "object"}, {"type": "object"}, reads_only=True)
    meters = CallMeters()

    meters.ended(ended(called=catalog_tool("up", tool), tries=[{"code": "upstream_failed"}, {"code": "upstream_busy"}]))

    assert labels_of(meters, "aam_call_retries") == [
        {"connector": "up", "code": "upstream_failed"},
        {"connector": "up", "code": "upstream_busy"},
    ]


def labels_of(meters: CallMeters, name: str) -> list[dict[str, str]]:
    """Return the labels of a metric's samples."""
    family = next(family for family in meters.families() if family.name == name)
    return [dict(sample.labels) for sample in family.samples]
