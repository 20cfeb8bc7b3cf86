"""What the MCP connector reads and names, by laws: however an event stream is cut, and whatever a tool is called."""

import re

from hypothesis import given
from hypothesis import strategies as st

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
