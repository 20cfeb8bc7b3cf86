"""The text of a rule, found again by what a record says of it."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.documents.rules import rule_text
from broker.documents.source import Source, read_sources

FILE = """\
# The broker of the same name is no policy.
kind: Broker
metadata: {name: p}
spec: {tools: [{deny: [never]}]}
---
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata: {name: other}
spec: {tools: [{resource: a.b, deny: [other]}]}
---
kind: AgentPolicy
metadata: {name: p}
spec:
  tools:
    - resource: a.b   # what it is about
      actions:
        - read
        - search
      deny: &x [export,
         purge]
    # a comment that is not of the rule above

    - {resource: c.d, deny: [z]}
    -
      resource: e.f
      deny: *x
      actions: [read]
  models:
    allow: [m]
"""
EXPECTED = {
    "tools[0].deny": """\
          15      - resource: a.b   # what it is about
          16        actions:
          17          - read
          18          - search
        > 19        deny: &x [export,
        > 20           purge]""",
    "tools[0].actions": """\
          15      - resource: a.b   # what it is about
        > 16        actions:
        > 17          - read
        > 18          - search
          19        deny: &x [export,
          20           purge]""",
    "tools[1].deny": "        > 23      - {resource: c.d, deny: [z]}",
    "tools[2].deny": """\
          25        resource: e.f
        > 26        deny: *x
          27        actions: [read]""",
    "models.allow": """\
          28    models:
        > 29      allow: [m]""",
}


@pytest.mark.parametrize("place", EXPECTED)
def test_a_rule_is_found_whole_with_its_deciding_lines(place: str) -> None:
    """Issue 3, `aam trail show`: the rule that decided, its text as it was then."""
    assert rule_text(FILE.encode(), "p", place) == textwrap.dedent(EXPECTED[place])


def test_of_several_policies_in_a_file_the_named_one_is_meant() -> None:
    """A file may hold many documents, and other kinds may have the same name."""
    assert rule_text(FILE.encode(), "other", "tools[0].deny") == (
        "> 9  spec: {tools: [{resource: a.b, deny: [other]}]}"
    )


@pytest.mark.parametrize(
    "place", ["tools[3].deny", "tools[0].nothing", "tools", "nothing", "", "../x", "tools[0]deny", "tools[-1].deny",
              "a" * 10_000, "tools[99999999999999999999].deny", "spec.tools[0]"]
)  # fmt: skip
def test_what_is_no_rule_has_no_text(place: str) -> None:
    """Whatever a record says, or somebody asks, the answer is a text or none."""
    text = rule_text(FILE.encode(), "p", place)

    assert (text is None) == (place != "tools")


@pytest.mark.parametrize("content", [b"", b"\xff", b"a: [", b"- x", b"x", b"kind: AgentPolicy", b"&a [*a]", b"[" * 500])
def test_what_is_no_policy_has_no_text(content: bytes) -> None:
    """A content that is asked for may be any file of a set."""
    assert rule_text(content, "p", "tools[0].deny") is None


WORDS = st.lists(st.sampled_from(["read", "search", "export", "purge"]), min_size=1, max_size=4, unique=True)


@given(st.lists(st.tuples(WORDS, st.booleans(), st.integers(0, 2)), min_size=1, max_size=6), st.data())
def test_the_text_of_a_rule_says_what_the_rule_says(
    rules: list[tuple[list[str], bool, int]], data: st.DataObject
) -> None:
    """However a policy is laid out, the lines of a rule are a rule again, with the same actions."""
    lines = ["kind: AgentPolicy", "metadata: {name: p}", "spec:", "  tools:"]
    for actions, flow, blank in rules:
        lines.append("  - resource: a.b")
        written = [f"    deny: [{', '.join(actions)}]"] if flow else ["    deny:", *(f"    - {one}" for one in actions)]
        lines += [*written, *["", "# of nobody"][:blank]]
    number = data.draw(st.integers(0, len(rules) - 1))

    text = rule_text("\n".join(lines).encode(), "p", f"tools[{number}].deny")

    assert text is not None
    plain = textwrap.dedent("\n".join(line[len("> 00  ") :] for line in text.splitlines()))
    (source,) = read_sources(plain.encode(), "rule")
    assert isinstance(source, Source)
    assert source.value == [{"resource": "a.b", "deny": rules[number][0]}]
