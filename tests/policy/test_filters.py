"""Filters: what may be written, and how each call binds it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.connector import Comparison
from broker.identity import OnBehalfOf
from broker.policy import parse_filter
from broker.policy.condition import CannotEvaluate
from tests.support.policies import request

BOUND: list[tuple[str, list[Comparison]]] = [
    ("Owner.Email = :on_behalf_of.email", [Comparison("Owner.Email", "=", "jane@example.com")]),
    ("Team__c = :agent.team AND Amount <= 1000",
     [Comparison("Team__c", "=", "finance"), Comparison("Amount", "<=", 1000)]),
    ("Stage IN ('Open', :agent.team)", [Comparison("Stage", "in", ["Open", "finance"])]),
    ("Name != 'O''Neill AND Sons'", [Comparison("Name", "!=", "O'Neill AND Sons")]),
    ("IsActive = true and Level > -3", [Comparison("IsActive", "=", value=True), Comparison("Level", ">", -3)]),
    ("Environment=:context.environment", [Comparison("Environment", "=", "production")]),
]  # fmt: skip

REFUSED = [
    ("", "a field is expected, not its end"),
    ("Owner.Email", "a comparison"),
    ("Owner.Email =", "a value is expected"),
    ("Owner.Email == 'x'", "a value is expected, not ="),
    ("Owner.Email LIKE 'x'", "a comparison (=, !=, <, <=, >, >=, IN) is expected, not LIKE"),
    ("Owner.Email = jane", "put texts in single quotes"),
    ('Owner.Email = "jane"', "means nothing here"),
    ("Owner.Email = 'jane", "means nothing here"),
    ("Amount = 1.5", "means nothing here"),
    ("Amount = 12345678901234567890", "means nothing here"),
    ("A = 'x' OR B = 'y'", "AND is expected, not OR"),
    ("NOT A = 'x'", "a comparison"),
    ("A = 'x' AND", "a field is expected"),
    ("A IN 'x'", "a list is expected after IN"),
    ("A IN ()", "a value is expected"),
    ("A IN ('x'", "',' or ')' is expected"),
    ("A IN (1)", "texts and parameters only"),
    ("A = :arguments.id", "there is no :arguments.id"),
    ("A = :on_behalf_of.mail", "did you mean 'email'?"),
    ("A = :agent", "means nothing here"),
    ("A = :context.time", "there is no :context.time"),
    ("A = 'x'; DELETE", "means nothing here"),
    (" AND ".join(["A = 1"] * 21), "more than 20 comparisons"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), BOUND)
def test_a_filter_is_bound_for_each_call(text: str, wanted: list[Comparison]) -> None:
    """Issue 4, Scope reaches the upstream: parameters come from proofs and the registry, never from an argument."""
    assert list(parse_filter(text).bound(request())) == wanted


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_is_no_filter_is_refused_when_it_is_loaded(text: str, words: str) -> None:
    """What the service could not be asked must not look like a rule."""
    with pytest.raises(ValueError, match=r".") as refused:
        parse_filter(text)

    assert words in str(refused.value)


@pytest.mark.parametrize("email", [None, "x" * 1001, "\ud800"])
def test_a_parameter_without_a_value_is_no_filter(email: str | None) -> None:
    """The brief of issue 4: a missing parameter value refuses the call; it never means "any"."""
    asked = request()
    delegated = OnBehalfOf("https://issuer.example.com", "jane", "id-jag", email)
    asked = replace(asked, subject=replace(asked.subject, on_behalf_of=delegated))

    with pytest.raises(CannotEvaluate):
        parse_filter("Owner.Email = :on_behalf_of.email").bound(asked)


def test_on_nobodys_behalf_no_filter_is_bound() -> None:
    """Who calls for nobody sees nobody's records."""
    with pytest.raises(CannotEvaluate):
        parse_filter("Owner.Email = :on_behalf_of.email").bound(request(delegated=False))


@given(st.text(max_size=40), st.sampled_from(["=", "!=", "<", ">="]))
def test_a_text_in_a_filter_is_that_text(text: str, operator: Any) -> None:
    """Quotes cannot be closed from inside."""
    quoted = text.replace("'", "''")

    assert parse_filter(f"Name {operator} '{quoted}'").bound(request()) == (Comparison("Name", operator, text),)
