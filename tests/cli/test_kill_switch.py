"""`aam agents suspend`, `resume` and `suspensions`: what an operator types, and what it says."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Aam = Callable[..., Any]
NAME = "finance-analyst"


@pytest.fixture
def agents(aam: Aam, served: Any) -> Iterator[Callable[..., Any]]:
    """Run `aam agents …`; whoever is suspended in the end is resumed."""

    def agents(*arguments: str) -> Any:
        return aam("agents", *arguments, "--dir", served.directory)

    yield agents
    for one in agents("suspensions", "--json").json:
        whom = {"agent": [one["subject"]], "team": ["--team", one["subject"]], "all": ["--all"]}[one["scope"]]
        agents("resume", *whom, "--reason", "the test is over")


@pytest.mark.parametrize("whom", [(NAME,), (f"spiffe://prod/agent/{NAME}",), ("--team", "finance"), ("--all",)])
def test_an_operator_suspends_sees_and_resumes(agents: Callable[..., Any], whom: tuple[str, ...]) -> None:
    """Issue 4, The kill switch: `aam agents suspend ID --reason` (`--team`, `--all`); the list says who, and why."""
    suspended = agents("suspend", *whom, "--reason", "Case 17")
    listed, said = agents(), agents("suspensions")
    resumed = agents("resume", *whom, "--reason", "Case 17 is closed")

    assert (suspended.code, resumed.code) == (0, 0)
    assert "1 registered agent" in suspended.out
    assert "suspended: " in listed.out
    assert "Case 17" in listed.out
    assert "Case 17" in said.out
    assert "suspended" not in agents().out
    assert agents("suspensions").out == "Nobody is suspended by an operator.\n"


def test_a_list_says_the_documents_status_and_what_it_comes_to(agents: Callable[..., Any]) -> None:
    """Status in a document and in the store both count; programs are told both."""
    agents("suspend", NAME, "--reason", "Case 17")

    (listed,) = agents("--json").json

    assert (listed["status"], listed["effective"]) == ("active", "suspended")
    assert [(one["scope"], one["reason"]) for one in listed["suspensions"]] == [("agent", "Case 17")]


def test_who_is_barred_for_another_reason_is_named(agents: Callable[..., Any]) -> None:
    """Exit status 1: the suspension is lifted, and the agent may still not call."""
    agents("suspend", NAME, "--reason", "Case 17")
    agents("suspend", "--all", "--reason", "Case 18")

    resumed = agents("resume", NAME, "--reason", "Case 17 is closed")

    assert resumed.code == 1
    assert "Case 18" in resumed.err
    assert "agent_suspended" in resumed.err


@pytest.mark.parametrize("command", ["suspend", "resume"])
@pytest.mark.parametrize("whom", [(), (NAME, "--all"), ("no-such-agent",), ("--team", "a", "--all")])
def test_an_order_that_is_not_clear_is_misuse(agents: Callable[..., Any], command: str, whom: tuple[str, ...]) -> None:
    """Exit status 2, and nobody is suspended: it must never look as if somebody were."""
    ran = agents(command, *whom, "--reason", "Case 17")

    assert ran.code == 2
    assert agents("suspensions", "--json").json == []


def test_a_suspension_shows_in_the_status(aam: Aam, agents: Callable[..., Any], served: Any) -> None:
    """Whoever wonders why no call is made finds it where they look first."""
    agents("suspend", "--all", "--reason", "Case 17")

    assert "1 suspension in force" in aam("status", "--dir", served.directory).out
