"""What the MCP connector reads and names, by laws: however an event stream is cut, and whatever a tool is called."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connector import errors
from connectors.mcp.events import Event, Events
from connectors.mcp.tools import word

LINES = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), max_size=20)


@given(st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=5), st.data())
def test_events_are_the_same_however_their_bytes_come(said: list[list[str]], data: st.DataObject) -> None:
    """WHATWG HTML §9.2.6: events are what their lines say; where a packet ends says nothing."""
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = "".join("".join(f"data: {line}{end}" for line in lines) + end for lines in said).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))

    events = Events(1_000_000)
    pieces = [text[begin:stop] for begin, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    came = [event for piece in pieces for event in events.feed(piece)]

    assert came == [Event("message", "\n".join(lines)) for lines in said]


class Counted(bytearray):
    """Bytes that count how many are copied."""

    copied = 0

    def __bytes__(self) -> bytes:
        """Count, and copy."""
        Counted.copied += len(self)
        return bytes(memoryview(self))


def test_a_line_that_comes_in_many_pieces_is_copied_once() -> None:
    """docs/threat-model.md: no text of a service costs more than linear time."""
    events = Events(1_000_000)
    events._rest = Counted()
    Counted.copied = 0

    for _ in range(900):
        assert list(events.feed(b"x" * 1000)) == []
    assert Counted.copied == 0
    assert list(events.feed(b"\n\n")) == []
    assert Counted.copied == 900_000


@pytest.mark.parametrize("chunk", [b"data:\n" * 240, b"data: x\n", b"x" * 1400])
def test_an_event_that_never_ends_is_too_large(chunk: bytes) -> None:
    """Issue 6, `mcp`: what is kept of an event has an end, also of lines that hold nothing."""
    events, longest = Events(10_000), 10_000

    with pytest.raises(errors.UpstreamTooLarge):
        [list(events.feed(chunk)) for _ in range(longest)]

    assert len(events._data) <= longest
    assert len(events._rest) <= longest + len(chunk)


def test_events_that_end_may_be_many() -> None:
    """The cap is on one event; that on the whole answer is egress's."""
    events = Events(100)

    assert sum(len(list(events.feed(b"data: " + b"x" * 50 + b"\n\n"))) for _ in range(1000)) == 1000


@given(st.text(max_size=64))
def test_every_name_of_a_tool_becomes_a_word_that_policies_can_write(name: str) -> None:
    """Issue 6, `mcp`: each upstream tool is a resource."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", word(name))


def test_names_stay_legible() -> None:
    """A policy is read by people."""
    names = {
        "readNote": "read_note",
        "git_log": "git_log",
        "get-sum": "get_sum",
        "HTTP.get": "http_get",
        "9x": "tool_9x",
    }

    assert {name: word(name) for name in names} == names
