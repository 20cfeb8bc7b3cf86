"""Policies and requests for tests: what is not said is that of one analyst on one afternoon."""

import datetime
from collections.abc import Mapping
from typing import Any

from broker.identity import Agent, OnBehalfOf, WorkloadIdentity
from broker.policy import AccessRequest, AgentPolicies, AgentPolicyDocument, Context, Decision, WrittenPolicy

WORKLOAD = "spiffe://prod/agent/analyst"
NOW = datetime.datetime(2026, 11, 24, 14, 0, tzinfo=datetime.UTC)  # a Tuesday
AGENT = Agent("analyst", WORKLOAD, "jane@example.com", "finance", "production", "one")
JANE = OnBehalfOf("https://issuer.example.com", "jane", "id-jag", "jane@example.com")
OFFERED = {
    "crm.accounts": {"read": True, "search": True, "update": False, "export": True},
    "crm.contacts": {"read": True, "search": True, "update": False, "export": True},
    "wiki.pages": {"read": True, "update": False},
}


def request(
    arguments: Mapping[str, Any] | None = None,
    action: str = "read",
    resource: str = "crm.accounts",
    *,
    delegated: bool = True,
    time: datetime.datetime | None = NOW,
    agent: Agent | None = AGENT,
    **identity: Any,
) -> AccessRequest:
    """Return a request of the analyst, on Jane's behalf unless told otherwise."""
    proof: dict[str, Any] = {"method": "jwt-svid", "assurance": "attested", "proof": "sha256:0", **identity}
    subject = WorkloadIdentity(WORKLOAD, "prod", on_behalf_of=JANE if delegated else None, **proof)
    return AccessRequest(subject, action, resource, arguments or {}, agent, Context(time, "streamable-http"))


def policy(*rules: dict[str, Any], **spec: Any) -> AgentPolicyDocument:
    """Return a policy of these tool rules."""
    return AgentPolicyDocument.model_validate(
        {"identity": {"workload": WORKLOAD}, "tools": list(rules), **spec}, strict=True
    )


def united(*policies: AgentPolicyDocument, offered: Mapping[str, Mapping[str, bool]] = OFFERED) -> AgentPolicies:
    """Unite policies, named p0, p1 and so on."""
    written = (WrittenPolicy(f"p{number}", f"d{number}", one) for number, one in enumerate(policies))
    return AgentPolicies(written, offered)


def decide(*policies: AgentPolicyDocument, **asked: Any) -> Decision:
    """Decide one request by these policies."""
    return united(*policies).decide(request(**asked))
