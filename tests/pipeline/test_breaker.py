"""The laws of the circuit and of the limits, for any order of things."""

import contextlib
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connector import BreakerDocument, LimitsDocument
from broker.egress import Limits
from broker.egress.database import postgres
from broker.errors import CircuitOpen, ConnectorBusy, Refusal, UpstreamFailed, UpstreamNotFound
from broker.pipeline.breaker import Breaker
from broker.pipeline.resilience import Guard
from connectors.mcp.messages import RpcError, refusal_of

STATES = ("21000", "0A000", "54001", "P0001", "44000", "22012", "42883")
"""SQLSTATEs that a statement of an agent's own can bring about."""
AGENTS_OWN = [
    *(postgres._refused(SimpleNamespace(sqlstate=state), Limits(), writing=False) for state in STATES),
    *(refusal_of(RpcError(number, "")) for number in (-32603, -32602, -32601, -32600, -32000, 1)),
]
DOCUMENT = BreakerDocument(failures=3, open_seconds=10)
STEPS = st.lists(st.sampled_from(["ok", "fail", "refuse", "crash", "wait"]), max_size=60)


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def call(guard: Guard, limits: LimitsDocument, how: str) -> bool:
    """Make a call that ends in some way; return whether it was let through."""
    ends: dict[str, BaseException | None] = {
        "ok": None, "fail": UpstreamFailed(), "refuse": UpstreamNotFound(), "crash": KeyError()
    }  # fmt: skip
    try:
        with guard.passing(limits):
            if (error := ends[how]) is not None:
                raise error
    except (CircuitOpen, ConnectorBusy):
        return False
    except (UpstreamFailed, UpstreamNotFound, KeyError):
        pass
    return True


@given(STEPS)
def test_a_circuit_is_open_exactly_after_so_many_failures_in_a_row(steps: list[str]) -> None:
    """Issue 6: opens after failures, half-open probe; a model of it says the same at every step."""
    clock, limits = Clock(), LimitsDocument(breaker=DOCUMENT)
    guard = Guard(clock)
    failures, opened = 0, False

    for step in steps:
        if step == "wait":
            clock.now += DOCUMENT.open_seconds
            continue
        expected = not opened or guard.breaker.left(DOCUMENT) == 0
        assert call(guard, limits, step) is expected
        if not expected:
            continue
        if step == "fail":
            failures += 1
            opened = opened or failures >= DOCUMENT.failures
        elif step != "crash":
            failures, opened = 0, False
        assert (guard.breaker.state(DOCUMENT) != "closed") is opened
        assert guard.running == 0


@given(st.integers(1, 5), st.lists(st.floats(0, 40), max_size=40))
def test_no_minute_has_more_calls_than_are_allowed(most: int, pauses: list[float]) -> None:
    """Issue 6: rate limits per connector; whoever is refused is told when there is room, and there is room then."""
    clock, limits = Clock(), LimitsDocument(calls_per_minute=most)
    guard, begun = Guard(clock), []

    for pause in pauses:
        clock.now += pause
        try:
            with guard.passing(limits):
                begun.append(clock.now)
        except ConnectorBusy as busy:
            clock.now += busy.facts["retry_after"] + 1e-6
            assert call(guard, limits, "ok")
            begun.append(clock.now)

    assert all(sum(start < other <= start + 59.999 for other in begun) < most for start in begun)


def test_only_one_call_tries_whether_the_service_is_well() -> None:
    """Many that wait must not come down on it all at once."""
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(DOCUMENT.failures):
        breaker.failed(DOCUMENT, trial=breaker.enter(DOCUMENT))
    clock.now += DOCUMENT.open_seconds

    assert breaker.state(DOCUMENT) == "half_open"
    assert breaker.enter(DOCUMENT) is True
    with pytest.raises(CircuitOpen) as raised:
        breaker.enter(DOCUMENT)
    assert raised.value.facts["retry_after"] >= 1

    breaker.abandoned(trial=True)  # cut off: it has told nothing
    assert breaker.enter(DOCUMENT) is True
    breaker.failed(DOCUMENT, trial=True)
    assert (breaker.state(DOCUMENT), breaker.left(DOCUMENT)) == ("open", DOCUMENT.open_seconds)


def test_a_late_failure_keeps_no_circuit_open_for_longer() -> None:
    """A call that began before it opened says nothing new."""
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(DOCUMENT.failures):
        breaker.failed(DOCUMENT, trial=False)
    clock.now += 4

    breaker.failed(DOCUMENT, trial=False)

    assert breaker.left(DOCUMENT) == DOCUMENT.open_seconds - 4
    assert breaker.failures == DOCUMENT.failures


def test_calls_at_once_are_counted_while_they_run() -> None:
    """Issue 6: concurrent calls per connector; the place is free again however a call ends."""
    limits, guard = LimitsDocument(calls_at_once=2), Guard(Clock())
    endings: list[Callable[[], None]] = []
    for _ in range(2):
        stack = contextlib.ExitStack()
        stack.enter_context(guard.passing(limits))
        endings.append(stack.close)

    assert not call(guard, limits, "ok")
    endings.pop()()
    assert call(guard, limits, "crash")
    assert call(guard, limits, "ok")
    endings.pop()()
    assert guard.running == 0


@pytest.mark.parametrize("refusal", AGENTS_OWN, ids=lambda refusal: refusal.detail)
def test_what_one_agent_brings_about_closes_no_service_to_another(refusal: Refusal) -> None:
    """A hostile argument is answered with an error, ten times; another agent's call passes."""
    guard, limits = Guard(Clock()), LimitsDocument(breaker=DOCUMENT)

    for _ in range(10):
        with contextlib.suppress(Refusal), guard.passing(limits):
            raise refusal

    assert guard.breaker.state(DOCUMENT) == "closed"
    assert call(guard, limits, "ok")


@pytest.mark.parametrize("state", ["57P01", "58030", "XX000", "08006"])
def test_a_database_that_says_it_is_not_well_is_left_alone(state: str) -> None:
    """Whoever asks: the same classes count as failures."""
    assert isinstance(postgres._refused(SimpleNamespace(sqlstate=state), Limits(), writing=False), UpstreamFailed)
