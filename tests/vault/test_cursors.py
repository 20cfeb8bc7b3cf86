"""Cursors: sealed, and bound to agent, tool and query."""

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import CursorInvalid
from broker.vault.cursors import CursorSealer
from tests.support.clock import Clock

SEALER = CursorSealer(bytes(range(32)))
PLACES = st.lists(st.none() | st.integers(0, 2**40) | st.text(max_size=40), max_size=4)


@given(place=PLACES, query=st.text(max_size=60))
def test_a_cursor_leads_back_to_its_place(place: list[object], query: str) -> None:
    """Whatever stands in it."""
    cursors = SEALER.of("spiffe://prod/agent/one", "search")

    assert cursors.open(query, cursors.seal(query, place)) == place


@pytest.mark.parametrize(
    ("key", "agent", "tool", "query"),
    [
        (bytes(32), "one", "search", "q"),
        (None, "two", "search", "q"),
        (None, "one", "read", "q"),
        (None, "one", "search", "r"),
        (None, "one\nsearch", "", "q"),
    ],
)
def test_a_cursor_of_another_is_refused(key: bytes | None, agent: str, tool: str, query: str) -> None:
    """Another store's, another agent's, another tool's, another query's."""
    cursor = SEALER.of("one", "search").seal("q", ["secret"])
    other = SEALER if key is None else CursorSealer(key)

    with pytest.raises(CursorInvalid):
        other.of(agent, tool).open(query, cursor)


def test_a_cursor_expires() -> None:
    """After a day it leads nowhere."""
    cursors = SEALER.of("one", "search")
    cursor = cursors.seal("q", [1])

    with patch("broker.vault.cursors.time", Clock(4e9)), pytest.raises(CursorInvalid):
        cursors.open("q", cursor)


@given(junk=st.text(max_size=200))
def test_junk_is_no_cursor(junk: str) -> None:
    """And no crash."""
    with pytest.raises(CursorInvalid):
        SEALER.of("one", "search").open("q", junk)
