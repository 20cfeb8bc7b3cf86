import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from broker.errors import AgentExpired, AgentRetired, AgentSuspended, AgentUnregistered, Refusal
from broker.identity import Agent, AgentDocument, Registry, TrustDomainDocument

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
WORKLOAD = "spiffe://prod/agent/analyst"
FACTS = {
    "workload": WORKLOAD,
    "owner": "ada@example.com",
    "team": "finance",
    "environment": "prod",
    "deployment": "eu-1",
}


def agent(**changes: Any) -> Agent:
    """Make a registry entry."""
    return Agent(**{"name": "analyst", **FACTS, **changes})


def test_a_registered_agent_brings_the_people_who_answer_for_it() -> None:
    """Issue 2, Identity: owner, team, environment and deployment come from the registry only."""
    found = Registry([agent()]).standing(WORKLOAD, NOW)

    assert (found.owner, found.team, found.environment, found.deployment) == (
        "ada@example.com",
        "finance",
        "prod",
        "eu-1",
    )


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"status": "suspended"}, AgentSuspended),
        ({"status": "retired"}, AgentRetired),
        ({"valid_until": NOW}, AgentExpired),
        ({"valid_until": NOW - datetime.timedelta(seconds=1)}, AgentExpired),
        ({"workload": "spiffe://prod/agent/analyst2"}, AgentUnregistered),
        ({"workload": "spiffe://prod/agent"}, AgentUnregistered),
        ({"workload": "spiffe://prod/agent/ANALYST"}, AgentUnregistered),
    ],
)
def test_an_agent_that_may_not_call_is_barred_with_the_reason(changes: dict[str, Any], refusal: type[Refusal]) -> None:
    """identity.md A8: unknown, suspended, retired and expired agents are refused; there is no anonymous agent."""
    with pytest.raises(refusal):
        Registry([agent(**changes)]).standing(WORKLOAD, NOW)


def test_an_agent_may_call_until_its_registration_runs_out() -> None:
    """identity.md A8: `valid_until`, compared across time zones."""
    zone = datetime.timezone(datetime.timedelta(hours=2))
    until = (NOW + datetime.timedelta(seconds=1)).astimezone(zone)

    assert Registry([agent(valid_until=until)]).standing(WORKLOAD, NOW).name == "analyst"


def test_all_of_an_agents_selectors_must_be_true_of_a_process() -> None:
    """identity.md A9: selectors are and-ed, as SPIRE's are; an agent without any is nobody's."""
    both = agent(name="both", selectors=frozenset({"unix:uid:1000", "unix:path:/usr/bin/agent"}))
    none = agent(name="none", workload="spiffe://prod/agent/none")
    registry = Registry([both, none])

    assert registry.matching(frozenset({"unix:uid:1000", "unix:path:/usr/bin/agent", "unix:gid:5"})) == [both]
    assert registry.matching(frozenset({"unix:uid:1000"})) == []
    assert registry.matching(frozenset()) == []


@pytest.mark.parametrize("missing", ["workload", "owner", "team", "environment", "deployment"])
def test_an_agent_without_somebody_who_answers_for_it_is_not_registered(missing: str) -> None:
    """Issue 2, Documents: an agent without owner, team, environment or deployment is refused at load."""
    AgentDocument.model_validate(FACTS)

    with pytest.raises(ValidationError):
        AgentDocument.model_validate({name: value for name, value in FACTS.items() if name != missing})
    with pytest.raises(ValidationError):
        AgentDocument.model_validate({**FACTS, missing: ""})


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "paused"},
        {"valid_until": "2027-01-31T00:00:00"},
        {"selectors": ["uid:1000"]},
        {"selectors": ["unix:uid:root"]},
        {"selectors": ["unix:path:relative"]},
        {"selectors": ["unix:sha256:ABC"]},
        {"selectors": ["unix:uid:1\nunix:uid:2"]},
        {"workload": "spiffe://prod"},
        {"workload": "spiffe://prod/agent/x\n"},
        {"token": "x"},
    ],
)
def test_an_agent_document_with_a_mistake_is_refused(wrong: dict[str, Any]) -> None:
    """house-style.md: parse at the edge; no time zone, no such selector, no such status, no such key."""
    with pytest.raises(ValidationError):
        AgentDocument.model_validate({**FACTS, **wrong})


@pytest.mark.parametrize(
    "bundle",
    [
        {},
        {"file": "a.json", "url": "https://td.example/keys"},
        {"url": "http://td.example/keys"},
        {"url": "https://user@td.example/keys"},
        {"url": "https://td.example/keys", "stale_after_hours": 0},
    ],
)
def test_a_trust_domain_has_one_source_of_keys_and_only_https(bundle: dict[str, Any]) -> None:
    """SPIFFE_Federation §5.2: https, no user info; and a file or a URL, not both."""
    TrustDomainDocument.model_validate({"environment": "prod", "bundle": {"url": "https://td.example/keys"}})

    with pytest.raises(ValidationError):
        TrustDomainDocument.model_validate({"environment": "prod", "bundle": bundle})
