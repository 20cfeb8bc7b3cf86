"""Conditions in CEL: what may be written, what it means for a call, and what is refused when it is loaded."""

import contextlib
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.policy import compile_condition
from broker.policy.condition import CannotEvaluate
from tests.support.policies import request

HOLDS: list[tuple[str, bool]] = [
    ("arguments.amount <= 1000", True),
    ("arguments.amount > 1000", False),
    ("arguments.amount < 1000.5 && agent.team == 'finance'", True),
    ("agent.owner == on_behalf_of.email", True),
    ("on_behalf_of.issuer.startsWith('https://') && on_behalf_of.method in ['id-jag', 'token-exchange']", True),
    ("has(arguments.missing)", False),
    ("has(arguments.missing) && arguments.missing == 1", False),
    ("arguments.missing == 1 || agent.environment == 'production'", True),
    ("agent.environment == 'production' || arguments.missing == 1", True),
    ("context.environment == 'production' && context.deployment == 'one'", True),
    ("context.time.getHours() >= 9 && context.time.getHours() < 17", True),
    ("context.time < timestamp('2026-01-01T00:00:00Z')", False),
    ("context.time.getDayOfWeek() in [1, 2, 3, 4, 5]", True),
    ("context.assurance == 'attested' && context.method == 'jwt-svid'", True),
    ("context.transport == 'streamable-http' && !has(context.client)", True),
    ("agent.workload == 'spiffe://prod/agent/analyst' && agent.trust_domain == 'prod'", True),
    ("arguments.tags.exists(tag, tag == 'blue')", True),
    ("arguments.tags.all(tag, tag != 'red') && size(arguments.tags) == 2", True),
    ("arguments.tags.filter(tag, tag.contains('e')).exists(one, one == 'green')", True),
    ("arguments['tags'][0] == \"blue\"", True),
    ("arguments.filters.exists(one, one.field == 'Name')", True),
    ("arguments.name.matches('^[A-Z][a-z]+$')", True),
    ("'arguments.nothing' != \"on_behalf_of\" // a comment: nobody reads foo.bar", True),
    (r"""r"\" == "\\" && agent.team == 'finance' || "x" == "y\"" """, True),
    ("!(arguments.amount == 1) ? true : false", True),
    ("r'\\d' != '''x''' && arguments.amount * 2 - 1 == 199", True),
]

ARGUMENTS = {"amount": 100, "tags": ["blue", "green"], "name": "Acme", "filters": [{"field": "Name"}], "other": "x"}

REFUSED = [
    ("argument.amount == 1", "did you mean 'arguments'?"),
    ("arguments == {}", "name a member of 'arguments'"),
    ("agent.tem == 'finance'", "did you mean 'team'?"),
    ("agent.team.name == 'finance'", "has no members"),
    ("agent['te' + 'am'] == 'finance'", "name a member of 'agent'"),
    ("[agent][0].anything == 'x'", "name a member of 'agent'"),
    ("on_behalf_of == null", "name a member of 'on_behalf_of'"),
    ("context.now > 1", "'context' has no 'now'"),
    ("request.amount == 1", "there is no 'request' here"),
    ("amount == 1", "there is no 'amount' here"),
    ("arguments.amount ==", "is no CEL"),
    ("arguments.amount = 1", "means nothing here"),
    ("arguments.amount == 1 and true", "there is no 'and' here"),
    ("arguments.`amount` == 1", "means nothing here"),
    (".arguments.amount == 1", "must follow what it reads from"),
    ("arguments.?amount == 1", "name a member of 'arguments'"),
    (r"""r"\" == bogus.name || "x" == "y" """, "there is no 'bogus' here"),
    ("lower(arguments.name) == 'x'", "there is no function 'lower' here"),
    ("arguments.name.startWith('A')", "did you mean 'startsWith'?"),
    ("arguments.name.matches('[')", "no regular expression"),
    ("Account{name: 'x'} == 1", "there is no type 'Account'"),
    ("arguments.tags.exists(agent, agent == 1)", "has a meaning already"),
    ("arguments.tags.exists(tag, arguments.filters.exists(one, one == tag))", "stands inside another such loop"),
    ("arguments.tags.exists(tag, true) && tag == 'blue'", "there is no 'tag' here"),
    ("(" * 21 + "true" + ")" * 21, "more than 20 deep"),
]

FAILS = [
    ("arguments.missing == 1", "it reads a member that is not there"),
    ("has(arguments.missing.deeper)", "it reads a member that is not there"),
    ("arguments.amount + 'x' == 'y'", "types that do not go together"),
    ("arguments.amount", "neither true nor false"),
    ("arguments.name", "neither true nor false"),
    ("arguments.amount / (arguments.amount - 100) == 1", "divides by zero"),
    ("arguments.amount + 9223372036854775807 > 1", "too large"),
    ("arguments.name.matches(arguments.bracket)", "it reads a member that is not there"),
    ("context.client == 'x'", "it reads a member that is not there"),
]


@pytest.mark.parametrize(("text", "wanted"), HOLDS)
def test_a_condition_means_what_cel_says(text: str, wanted: bool) -> None:  # noqa: FBT001 - a table
    """Issue 4, The language: `when` is CEL over arguments, agent, on_behalf_of and context."""
    assert compile_condition(text).holds(request(ARGUMENTS)) is wanted


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_is_no_condition_is_refused_when_it_is_loaded(text: str, words: str) -> None:
    """Issue 4, The language: declared shapes, so an unknown root or field is an error at load."""
    with pytest.raises(ValueError, match=r".") as refused:
        compile_condition(text)

    assert words in str(refused.value)


@pytest.mark.parametrize(("text", "words"), FAILS)
def test_a_condition_without_a_value_is_neither_true_nor_false(text: str, words: str) -> None:
    """Issue 4, The language: an expression that errors refuses the call and tells the operator."""
    with pytest.raises(CannotEvaluate) as failed:
        compile_condition(text).holds(request(ARGUMENTS))

    assert words in str(failed.value)


def test_on_nobodys_behalf_there_is_no_delegation_to_read() -> None:
    """architecture.md: absent means less: what is not there has no value, not an empty one."""
    alone = request(ARGUMENTS, delegated=False)

    assert compile_condition("has(on_behalf_of.subject)").holds(alone) is False
    with pytest.raises(CannotEvaluate):
        compile_condition("on_behalf_of.email != 'x'").holds(alone)


@pytest.mark.parametrize("value", [10**30, -(10**30), float("inf"), float("nan"), "\ud800", {"a": {"b": []}}, None])
def test_no_argument_brings_an_evaluation_down(value: Any) -> None:
    """Whatever an agent sends, a condition is true, false, or cannot be evaluated."""
    try:
        held = compile_condition("arguments.amount == 1").holds(request({"amount": value}))
    except CannotEvaluate:
        held = False

    assert held is False


def test_what_a_condition_does_not_read_costs_nothing() -> None:
    """Issue 4, Speed: a large argument that no condition names is not converted for it."""
    condition = compile_condition("arguments.amount == 1")
    counted = Counted({"amount": 1, "rest": object()})

    assert condition.holds(request(counted))
    assert counted.read == ["amount"]


class Counted(dict[str, Any]):
    """Notes which members are read."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: list[str] = []

    def __getitem__(self, name: str) -> Any:
        self.read.append(name)
        return super().__getitem__(name)


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    """Nothing that an administrator writes raises anything but what is reported with its line."""
    with contextlib.suppress(ValueError):
        compile_condition(text)


@given(
    st.recursive(
        st.sampled_from(
            [
                "arguments.amount",
                "agent.team",
                "on_behalf_of.email",
                "context.time",
                "1",
                "'x'",
                "true",
                "bogus",
                "agent",
            ]
        ),
        lambda inner: st.builds(
            lambda one, sign, other: f"({one} {sign} {other})",
            inner,
            st.sampled_from(["&&", "||", "==", "<", "in", "+", "? true :"]),
            inner,
        ),
        max_leaves=6,
    )
)
def test_an_unknown_name_is_refused_wherever_it_stands(text: str) -> None:
    """Issue 4: an unknown root or field is an error at load, also in a branch that no call reaches."""
    try:
        compile_condition(text)
    except ValueError:
        return
    assert "bogus" not in text
    assert "agent" not in text.replace("agent.team", "")


def test_a_pattern_takes_no_time_that_its_text_decides() -> None:
    """An agent that knows the pattern cannot hold up the broker with a text for it."""
    condition = compile_condition("arguments.name.matches('^(a+)+$')")

    assert (
        condition.holds(request({"name": "a" * 50_000 + "!"})) is False
    )  # an engine that backtracks would not be back


def test_the_time_is_that_of_the_request() -> None:
    """architecture.md: decisions are a pure function; no clock is read."""
    condition = compile_condition("context.time >= timestamp('2027-01-01T00:00:00Z')")
    later = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)

    assert condition.holds(request({}, time=later)) is True
    assert condition.holds(request({}, time=later - datetime.timedelta(seconds=1))) is False
