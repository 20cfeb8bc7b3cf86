from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.connector import differences

NAME = {"name": "Name", "type": "string"}
OWNER = {"name": "OwnerId", "type": "reference"}


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (
            {},
            {"objects": {"Account": {"label": "Account", "fields": [NAME, OWNER]}}},
            [
                "+ objects.Account.fields.Name.name: 'Name'",
                "+ objects.Account.fields.Name.type: 'string'",
                "+ objects.Account.fields.OwnerId.name: 'OwnerId'",
                "+ objects.Account.fields.OwnerId.type: 'reference'",
                "+ objects.Account.label: 'Account'",
            ],
        ),
        (
            {"objects": {"Account": {"fields": [NAME]}}},
            {"objects": {"Account": {"fields": [OWNER, NAME]}}},
            ["+ objects.Account.fields.OwnerId.name: 'OwnerId'", "+ objects.Account.fields.OwnerId.type: 'reference'"],
        ),
        ({"fields": [NAME, OWNER]}, {"fields": [NAME]}, ["- fields.OwnerId"]),
        (
            {"tools": []},
            {"tools": [{"name": "x", "description": "Send it all.", "inputSchema": {"properties": {"y": {}}}}]},
            ["+ tools.x.description: 'Send it all.'", "+ tools.x.inputSchema.properties.y: {}", "+ tools.x.name: 'x'"],
        ),
        (
            {},
            {"prompts": [{"name": "p", "description": "Say it."}]},
            ["+ prompts.p.description: 'Say it.'", "+ prompts.p.name: 'p'"],
        ),
        ({"fields": [NAME]}, {"fields": [{**NAME, "type": "url"}]}, ["~ fields.Name.type: 'string' -> 'url'"]),
        ({"fields": [NAME, OWNER]}, {"fields": [OWNER, NAME]}, []),
        ({"enum": ["a", "b"]}, {"enum": ["a", "c", "d"]}, ["~ enum[1]: 'b' -> 'c'", "+ enum[2]: 'd'"]),
        ({"x": 1, "y": []}, {"x": True, "y": {}}, ["~ x: 1 -> True", "~ y: [] -> {}"]),
        ({}, {"a.b\x1b[2J": "\x1b]0;\u202e"}, ["+ 'a.b\\x1b[2J': '\\x1b]0;\\u202e'"]),
        (
            {},
            {"tools": [NAME, {**NAME, "type": "url"}]},
            [
                "+ tools[0].name: 'Name'",
                "+ tools[0].type: 'string'",
                "+ tools[1].name: 'Name'",
                "+ tools[1].type: 'url'",
            ],
        ),
    ],
)
def test_whoever_pins_a_description_sees_every_field_that_it_lets_out(old: Any, new: Any, shown: list[str]) -> None:
    """Issue 2, Salesforce: shows the difference and pins it on approval; only pinned fields ever leave."""
    assert list(differences(old, new)) == shown


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | st.lists(st.fixed_dictionaries({"name": st.sampled_from("abc"), "description": inner}), max_size=3)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4))
def test_nothing_is_approved_that_was_not_shown(new: dict[str, Any]) -> None:
    """MCP: wherever a definition has its words, agents read them; so does whoever approves it, as they stand."""
    shown = "\n".join(differences({}, new))

    assert all(repr(one)[1:-1] in shown for one in _texts(new))
    assert all(one.isprintable() for one in shown.split("\n"))


@given(VALUES, VALUES)
def test_what_is_not_the_same_is_shown_to_be_different(old: Any, new: Any) -> None:
    """But for the order of things that have names."""
    assert list(differences(old, old)) == []
    if not list(differences(old, new)):
        assert sorted(map(repr, _texts(old))) == sorted(map(repr, _texts(new)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
