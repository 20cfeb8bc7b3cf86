"""YAML as people and programs really leave it on disk: told clearly, never a traceback."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.documents.parse import parse
from broker.documents.source import Problem, Source, read_sources


def read(text: str | bytes) -> tuple[list[Any], list[Problem]]:
    """Read a file: the values of its documents, and what is wrong with it."""
    found = list(read_sources(text if isinstance(text, bytes) else text.encode(), "x.yaml"))
    return (
        [one.value for one in found if isinstance(one, Source)],
        [one for one in found if isinstance(one, Problem)],
    )


UNREADABLE = [
    (b"", 1, "there is no document"),
    (b"# kind: AgentPolicy\n", 1, "there is no document"),
    (b"---\n---\n", 1, "there is no document"),
    (b"a: 1\nb:\n\tc: 2\n", 3, "a tab stands where only spaces may"),
    (b"a: 1\nb: [1, 2\nc: 3\n", 3, "flow sequence"),
    (b"a: 1\n b: 2\n", 2, "mapping values are not allowed"),
    ("a: é".encode("utf-16"), 1, "UTF-16; save it as UTF-8"),
    (b"a: 1\nb: \xff\n", 2, "not UTF-8; save it as UTF-8"),
    (b"a: 1\nb: \x00\n", 2, "the character 0x0 is not allowed"),
    (b"\x7fELF\x02\x01\x01\x00\x00", 1, "not allowed"),
    (b"a: &x [*x]\n", 1, "this alias stands inside what it refers to"),
    (b"a: *nothing\n", 1, "undefined alias"),
    (b"[" * 2000, 1, "nested more than 50 deep"),
    (b"\n" + b"{a: " * 2000, 2, "nested more than 50 deep"),
]


@pytest.mark.parametrize(("text", "line", "words"), UNREADABLE)
def test_what_cannot_be_read_is_said_with_its_line(text: bytes, line: int, words: str) -> None:
    """Issue 2, Documents: refused at load with the reason."""
    values, problems = read(text)

    assert values == []
    assert [problem.line for problem in problems if words in problem.message] == [line], problems


MISWRITTEN = [
    ("a: 1\nb: 2\na: 3\n", 3, "a", "stands twice; the first is on line 1"),
    ("s:\n  a: 1\n  a: 2\n", 3, "s.a", "stands twice; the first is on line 2"),
    ("base: &b {a: 1}\ns:\n  <<: *b\n", 3, "s", "'<<' is not used in documents"),
    ("s: !secret x\n", 1, "s", "the tag !secret is not used"),
    ("s: !!binary aGk=\n", 1, "s", "the tag !!binary is not used"),
    ("s: !!python/object:os.system {}\n", 1, "s", "the tag !!python/object:os.system is not used"),
    ("s: !!set {a, b}\n", 1, "s", "the tag !!set is not used"),
    ("s:\n  1: x\n", 2, "s", "the key '1' is not text; put it in quotes"),
    ("s:\n  true: x\n", 2, "s", "the key 'true' is not text; put it in quotes"),
    ("s:\n  ? [a]\n  : x\n", 2, "s", "the key of this mapping is not text"),
    ("s: 2027-02-30\n", 1, "s", "'2027-02-30' is no timestamp"),
    ("s: !!int x\n", 1, "s", "'x' is no int"),
]


@pytest.mark.parametrize(("text", "line", "key", "words"), MISWRITTEN)
def test_what_is_written_wrong_is_said_and_the_rest_is_still_read(text: str, line: int, key: str, words: str) -> None:
    """Issue 2, Documents: duplicate keys and their like are refused; every mistake at once."""
    values, problems = read(text)

    assert len(values) == 1
    assert [(problem.line, problem.key, words in problem.message) for problem in problems] == [(line, key, True)]


def test_every_duplicate_of_a_file_is_reported() -> None:
    """A library that stops at the first makes people run the check once for each."""
    _, problems = read("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n---\nd: 1\nd: 2\n")

    assert [problem.key for problem in problems] == ["a", "b.c", "d"]


def test_an_alias_bomb_is_cut_short() -> None:
    """A small file must not become an enormous document."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]\n" for number in range(1, 12)
    )

    values, problems = read(bomb)

    assert values == []
    assert "more than" in problems[0].message


def test_a_chain_of_aliases_is_cut_short() -> None:
    """Each is flat in the file, and all of them together are as deep as there are lines."""
    chain = "a0: &a0 [x]\n" + "".join(f"a{number}: &a{number} [*a{number - 1}]\n" for number in range(1, 3000))

    values, problems = read(chain)

    assert values == []
    assert "nested more than" in problems[0].message


def test_aliases_and_anchors_are_read() -> None:
    """They are YAML, and harmless; a name may be used again (YAML 1.2 §3.2.2.2)."""
    values, problems = read("a: &x [read]\nb: *x\nc: &x [search]\nd: *x\n")

    assert (values, problems) == ([{"a": ["read"], "b": ["read"], "c": ["search"], "d": ["search"]}], [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: yes", "yes"),  # YAML 1.2 §10.3.2: neither yes nor on is a boolean
        ("a: on", "on"),
        ("a: true", True),
        ("a: ~", None),
        ("a:", None),
        ("a: 0o17", 15),
        ("a: 1.5", 1.5),
        ("a: '1'", "1"),
        ('a: "x\\ty"', "x\ty"),
        ("a: >-\n  one\n  two", "one two"),
    ],
)
def test_scalars_are_what_yaml_1_2_says(text: str, value: Any) -> None:
    """The core schema, so that 'no' is a text and never a hidden false."""
    assert read(text) == ([{"a": value}], [])


def test_a_moment_keeps_its_time_zone() -> None:
    """`valid_until` must mean the same moment everywhere."""
    values, _ = read("a: 2027-01-31T00:00:00Z\nb: 2027-01-31T00:00:00+02:00\nc: 2027-01-31T00:00:00")

    assert values[0]["a"].isoformat() == "2027-01-31T00:00:00+00:00"
    assert values[0]["b"].utcoffset().total_seconds() == 7200
    assert values[0]["c"].tzinfo is None


def test_a_byte_order_mark_and_windows_lines_are_read() -> None:
    """Editors on Windows write both."""
    assert read("\ufeffa: 1\r\nb: 2\r\n") == ([{"a": 1, "b": 2}], [])


def test_several_documents_share_a_file_and_keep_their_lines() -> None:
    """A line is the file's, not the document's."""
    first, second = (
        one for one in read_sources(b"a: 1\n---\n# two\nb:\n  - c: 3\n", "x.yaml") if isinstance(one, Source)
    )

    assert first.line(("a",)) == 1
    assert second.line(("b", 0, "c")) == 5


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No file, whatever is in it, brings the check down."""
    found = list(read_sources(data, "x.yaml"))

    assert found
    assert all(isinstance(one, Source | Problem) for one in found)


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["Agent", "spec", "\ud800"]),
)
_KEYS = st.sampled_from(
    ["apiVersion", "kind", "metadata", "name", "spec", "identity", "workload", "tools", "resource", "key", "source"]
) | st.text(max_size=4)  # fmt: skip
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4))


@settings(deadline=None, max_examples=200)
@given(_VALUES, st.sampled_from(["Broker", "AgentPolicy", "Agent", "TrustDomain", "Connector"]))
def test_any_value_is_a_document_or_has_problems(value: Any, kind: str) -> None:
    """No content, however strange, brings the check down: each finding has words."""
    source = Source("x.yaml", {"apiVersion": "access.envisionai.dev/v1", "kind": kind, "spec": value}, {}, "")

    found = parse(source)

    assert isinstance(found, list)
    assert all(problem.message for problem in found)
