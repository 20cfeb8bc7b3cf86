"""What `aam check` says of policies that are right, and that somebody should look at all the same."""

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.documents import FindConnector, Problem, load

Warned = Callable[[str, str], list[Problem]]


@pytest.fixture
def warned(directory: Path, find: FindConnector) -> Warned:
    """Change the policy in one place, and return what is warned of then."""

    def warned(old: str, new: str) -> list[Problem]:
        path = directory / "policy.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return [one for one in load(directory, find).warnings if one.file == "policy.yaml"]

    return warned


def in_days(days: int) -> str:
    """Return a moment, as documents write it."""
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("days", "words"), [(-1, "the rollout was over"), (5, "is let through until"), (60, "a rollout takes days")]
)
def test_a_rollout_is_warned_of(warned: Warned, days: int, words: str) -> None:
    """Issue 4: `enforcement: observe` is for rollout only."""
    (warning,) = warned("  tools:", f"  enforcement: observe\n  observe: {{ until: {in_days(days)} }}\n  tools:")

    assert (warning.line, warning.key) == (9, "spec.observe.until")
    assert words in warning.message


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("agent.team == 'audit'", "can never apply: its condition is always false of finance-analyst"),
        ("context.client == 'claude'", "nobody has proved it"),
    ],
)
def test_a_condition_that_means_less_than_it_says_is_warned_of(warned: Warned, condition: str, words: str) -> None:
    """Issue 4: a rule that can never match is reported at load, where it stands."""
    (warning,) = warned("deny: [export]", f"when: {condition}")

    assert warning.line in (10, 11)
    assert words in warning.message


def test_a_rule_that_another_document_wins_over_is_warned_of(directory: Path, warned: Warned) -> None:
    """Issue 4: unconditionally shadowed, by a rule in another file."""
    text = (directory / "policy.yaml").read_text()
    (directory / "wide.yaml").write_text(
        text.replace("name: finance-analyst-readonly", "name: wide").replace("salesforce.accounts", '"*"')
    )

    found = warned("[read, search]\n      deny: [export]", "[search]\n      max_records: 5")

    assert [one.message for one in found] == [
        "changes nothing: wide tools[0].actions (wide.yaml:10) permits the same in any case"
    ]
