import collections
import dataclasses
import datetime
import json
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import LeakBlocked, ResultTooLarge, UpstreamMalformed
from broker.redact import Released, narrow, release
from broker.redact.leaving import _PLACEHOLDER

ALL: dict[str, Any] = {}
ALL |= {"additionalProperties": ALL, "items": ALL}  # a schema under which everything may leave
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SALESFORCE = "00D5g000000abcd!AQ" + "Ab9._" * 18
PEM = """-----BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,00

MIIE
-----END RSA PRIVATE KEY-----"""
SHAPES = [
    SALESFORCE,
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0x.c2lnbmF0dXJl",
    "ya29.a0AfH6SMBx-_abcdefghijkl",
    "xoxb-123456789012-abcdef",
    "ghp_" + "A" * 36,
    PEM,
    PEM.replace("\n", "\\n"),
    "-----BEGIN PRIVATE KEY-----\nMIIE and no end",
]


class Finds:
    """A matcher that looks for one thing."""

    def __init__(self, *wanted: bytes) -> None:
        self._wanted = wanted

    def hits(self, data: bytes) -> bool:
        """Tell whether the data holds it."""
        return any(wanted in data for wanted in self._wanted)


def released(result: Any, schema: Any = ALL, longest: int = 1 << 20) -> Released:
    """Release what holds none of the call's credentials."""
    return release(result, schema, Finds(), longest)


def schema(**properties: Any) -> dict[str, Any]:
    """Declare an object's members."""
    return {"type": "object", "properties": properties}


@given(JSON)
def test_what_may_all_leave_leaves_as_it_is(value: Any) -> None:
    """redact: narrowing takes away what is not declared, and changes nothing else."""
    assert narrow(value, ALL) == value
    assert msgspec.json.decode(released(value).text) == msgspec.json.decode(msgspec.json.encode(value))


@given(value=JSON, declared=JSON)
def test_narrowing_is_done_once_and_for_all(value: Any, declared: Any) -> None:
    """redact: whatever the schema, what is left is left when it is narrowed again, and is never more."""
    once = narrow(value, declared)

    assert narrow(once, declared) == once
    assert len(json.dumps(once)) <= len(json.dumps(value))


@pytest.mark.parametrize(
    "declared", [{}, {"type": "object"}, {"properties": {}}, True, None, {"additionalProperties": True}]
)
def test_what_is_not_declared_does_not_leave(declared: Any) -> None:
    """architecture.md, Connectors: what may leave is an allow-list; absent means less."""
    assert narrow({"id": 1, "secret": {"deep": 2}}, declared) == {}
    assert narrow([{"id": 1}, 2], declared) == [{}, 2]


def test_members_are_taken_off_at_every_depth() -> None:
    """architecture.md, Connectors: members of members, and of the elements of lists."""
    declared = schema(record=schema(id={}, tags={"items": schema(name={})}))

    narrowed = narrow({"record": {"id": 1, "x": 2, "tags": [{"name": "a", "x": 1}, 3]}, "y": 4}, declared)

    assert narrowed == {"record": {"id": 1, "tags": [{"name": "a"}, 3]}}


def test_open_members_are_narrowed_by_their_own_schema() -> None:
    """JSON Schema: `additionalProperties` as a schema declares the others."""
    declared = {"properties": {"id": {}}, "additionalProperties": schema(name={})}

    assert narrow({"id": {"x": 1}, "a": {"name": "n", "x": 1}}, declared) == {"id": {}, "a": {"name": "n"}}


@dataclasses.dataclass
class Row:
    """What a connector might return instead of a dictionary."""

    id: int
    secret: str


class Struct(msgspec.Struct):
    """Another."""

    id: int
    secret: str


def test_a_declaration_may_refer_to_itself_and_branch() -> None:
    """Issue 6, openapi: described results have references and branches; what none of them declares does not leave."""
    person = {"properties": {"name": {}, "friends": {"items": {"$ref": "#/$defs/person"}}}}
    declared = {
        "anyOf": [{"$ref": "#/$defs/person"}, {"allOf": [{"properties": {"age": {}}}]}, {"$ref": "#/$defs/nowhere"}],
        "$defs": {"person": person},
    }

    narrowed = narrow(
        {"name": "a", "age": 1, "x": 1, "friends": [{"name": "b", "age": 2, "friends": [{"x": 1}]}]}, declared
    )

    assert narrowed == {"name": "a", "age": 1, "friends": [{"name": "b", "friends": [{}]}]}


def test_a_declaration_that_goes_round_in_circles_declares_nothing() -> None:
    """A reference to a reference to itself ends."""
    assert narrow({"a": 1}, {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}) == {}


@pytest.mark.parametrize(
    "value",
    [
        Row(1, "s"),
        Struct(1, "s"),
        collections.OrderedDict(id=1, secret="s"),
        MappingProxyType({"id": 1, "secret": "s"}),
        collections.ChainMap[str, Any]({"id": 1}, {"secret": "s"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_type_of_object_passes_around_the_allow_list(value: Any) -> None:
    """architecture.md, Connectors: the encoder knows many types; the allow-list must know as many."""
    declared = schema(id={})

    assert json.loads(released(value, declared).text) == {"id": 1}
    assert json.loads(released([value, (value,)], {"items": {**declared, "items": declared}}).text) == [
        {"id": 1},
        [{"id": 1}],
    ]


def test_values_that_json_has_a_form_for_take_it() -> None:
    """redact: moments, numbers and sets of Python's are released as what they are in JSON."""
    moment = datetime.datetime(2026, 11, 23, 21, 54, tzinfo=datetime.UTC)

    text = released({"at": moment, "sum": Decimal("1.10"), "names": {"a"}, "raw": b"hi", "nan": float("nan")}).text

    assert json.loads(text) == {"at": "2026-11-23T21:54:00Z", "sum": "1.10", "names": ["a"], "raw": "aGk=", "nan": None}


@pytest.mark.parametrize("value", ["\ud800", {"a": ["x\udfff"]}, {"\ud800": 1}])
def test_text_that_has_no_encoding_is_the_services_mistake(value: Any) -> None:
    """errors.py: `upstream_malformed`; Python's JSON parser lets a lone surrogate through."""
    with pytest.raises(UpstreamMalformed):
        released(value)


def test_nesting_without_end_is_the_services_mistake() -> None:
    """errors.py: `upstream_malformed`, and no exception of the interpreter's."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(UpstreamMalformed):
        released(deep)


def test_a_result_over_the_cap_is_withheld() -> None:
    """Issue 2, MCP: results are capped with a clear error; what is just as large passes."""
    fits = released("x" * 98, longest=100)

    with pytest.raises(ResultTooLarge):
        released("x" * 99, longest=100)
    assert len(fits.text) == 100


def test_the_cap_counts_what_leaves_and_not_what_came() -> None:
    """redact: what the schema takes away takes no room."""
    assert json.loads(released({"id": 1, "big": "x" * 1000}, schema(id={}), longest=20).text) == {"id": 1}


def test_a_credential_in_the_result_withholds_all_of_it() -> None:
    """credentials.md B6: exact matches fail closed."""
    with pytest.raises(LeakBlocked) as refusal:
        release({"a": "before TOKEN after"}, ALL, Finds(b"TOKEN"), 1000)

    assert "TOKEN" not in str(vars(refusal.value))


def test_a_credential_is_looked_for_in_what_leaves() -> None:
    """redact: in names and values as they are written; what is narrowed away is no leak."""
    with pytest.raises(LeakBlocked):
        release({"TOKEN": 1}, ALL, Finds(b"TOKEN"), 1000)

    assert release({"a": "TOKEN"}, {}, Finds(b"TOKEN"), 1000).text == b"{}"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape[:12])
def test_the_shapes_of_credentials_are_taken_out_wherever_they_stand(shape: str) -> None:
    """credentials.md B6: patterns are redacted, and counted for the trail."""
    result = {"a": f"x {shape}", "b": [{"c": shape}], shape: 1, "d": "kept"}

    done = released(result)

    assert shape.partition("\n")[0] not in done.text.decode()
    assert "MIIE" not in done.text.decode()
    assert json.loads(done.text) == {
        "a": f"x {_PLACEHOLDER}",
        "b": [{"c": _PLACEHOLDER}],
        _PLACEHOLDER: 1,
        "d": "kept",
    }
    assert done.removed == 3


@pytest.mark.parametrize(
    "harmless",
    [
        "00D5g000000abcdEAA",
        "eyJhbGciOiJub25lIn0",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "github_pat",
        "xoxo-kisses",
    ],
)
def test_what_only_resembles_a_credential_stays(harmless: str) -> None:
    """credentials.md B6: an org's id, a JWT's first part or a public key is data."""
    assert released({"a": harmless}) == Released(msgspec.json.encode({"a": harmless}), 0)


@pytest.mark.parametrize(
    "result",
    [
        {"a": "-----BEGIN PRIVATE KEY-----", "b": [1, {"c": "-----END PRIVATE KEY-----"}], "d": "kept"},
        {"a": '-----BEGIN PRIVATE KEY-----\\"', "d": "kept"},
        {"a": '-----BEGIN PRIVATE KEY-----"}, {"', "d": "kept"},
        {"a": "\x00D" + SALESFORCE[3:], "d": "kept"},
        {"a": "\x100D" + SALESFORCE[3:], "d": "kept"},
        {"a": '"' + SALESFORCE + '"', "d": "kept"},
        {"a": "\\" + SALESFORCE + "\\", "d": "kept"},
    ],
)
def test_what_is_taken_out_leaves_valid_json_and_the_neighbours(result: dict[str, Any]) -> None:
    """redact: a credential is taken out of a text, never out of the JSON around it."""
    left = json.loads(released(result).text)

    assert left.keys() == result.keys()
    assert left["d"] == "kept"


PIECES = st.sampled_from([*SHAPES, '"', "\\", "\x00", "\x10", "0", "D", "\\u00", "}", "[", "-----", "eyJ"])


@given(st.dictionaries(st.text(max_size=3), st.lists(PIECES, max_size=5).map("".join), max_size=3))
def test_whatever_is_taken_out_the_rest_is_json(result: dict[str, str]) -> None:
    """redact: pieces of credentials, of escapes and of JSON, in any order."""
    done = released(result)

    left = json.loads(done.text)
    assert sum(text.count(_PLACEHOLDER) for text in left.values()) == done.removed
    assert released(left).removed == 0
