import pytest

from broker.budget import CallSlots
from broker.errors import TooManyCalls


def test_a_place_is_free_again_after_the_call() -> None:
    """What is held is given back, however the call ends."""
    slots = CallSlots(1, 1)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), slots.hold("agent"):
            _ = 1 / 0

    assert slots.running == 0
    assert not slots._running


def test_one_agent_cannot_take_every_place() -> None:
    """Issue 2, MCP: concurrent calls are capped, for each agent and in all."""
    slots = CallSlots(3, 2)

    with slots.hold("greedy"), slots.hold("greedy"):
        with pytest.raises(TooManyCalls, match="This agent has 2 calls running"), slots.hold("greedy"):
            pass
        with slots.hold("modest"):
            assert slots.running == 3

    assert slots.running == 0


def test_all_agents_together_cannot_take_more_places_than_there_are() -> None:
    """Issue 2, MCP: concurrent calls are capped, for each agent and in all."""
    slots = CallSlots(2, 2)

    with slots.hold("one"), slots.hold("two"):
        with pytest.raises(TooManyCalls), slots.hold("three"):
            pass

        assert slots.running == 2
