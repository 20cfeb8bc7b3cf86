import collections
import datetime
import decimal
import json
import sys
from http import HTTPStatus
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from broker.audit import canonical

LARGEST = 2**53 - 1
KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=15,
)
Text = type("Text", (str,), {})


def nested(levels: int) -> list[Any]:
    """Make as many lists, one in the other."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


CYCLE = nested(1)
CYCLE.append(CYCLE)


@given(VALUES)
def test_what_a_record_may_hold_is_encoded_as_rfc_8785_says(value: Any) -> None:
    """Issue 2, Trail: canonical (RFC 8785, property-tested); the judge is another implementation."""
    encoded = canonical(value)

    assert encoded == rfc8785.dumps(value)
    assert canonical(json.loads(encoded)) == encoded


def test_every_character_and_the_largest_values_are_encoded_as_rfc_8785_says() -> None:
    """RFC 8785 §3.2.2.2: what is escaped, and how; canonical.py: what is refused begins one further."""
    characters = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    keys = {chr(point) * 2: point for point in range(0x20, 0x7F)}

    for value in (characters, keys, LARGEST, -LARGEST, nested(64), {"a": nested(63), "b": "c"}):
        assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [
        *(0.0, 1.5, float("nan"), float("inf"), LARGEST + 1, -LARGEST - 1, 10**400),
        *({"\u00e9": 1}, {"\x7f": 1}, {"\n": 1}, {"\ud800": 1}, {1: 1}, {None: 1}, {b"a": 1}, {Text("a"): 1}),
        *("\ud800", "a\udfff", {"a": "\udc00"}, ["\ud83d"], nested(65), nested(100_000), CYCLE),
        *(b"a", bytearray(b"a"), {1}, object(), decimal.Decimal(1), datetime.datetime.now(datetime.UTC)),
        *(Text("a"), HTTPStatus.OK, sys.version_info, collections.OrderedDict(a=1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_readers_would_not_all_read_alike_is_refused(value: Any) -> None:
    """canonical.py: `ValueError` for a float, a rounded integer, another key, a subclass, a depth, wherever it is."""
    for place in (value, [value], (1, value), {"a": value}, {"a": [{"b": value}]}):
        with pytest.raises(ValueError, match=r"."):
            canonical(place)
