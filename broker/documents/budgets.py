"""Budgets against the registry: whose money each is, and every cap that each agent's model calls are under."""

from collections.abc import Mapping

from broker.documents.findings import Findings
from broker.documents.parse import Document
from broker.documents.words import nearest
from broker.identity import Agent, Registry
from broker.policy import AgentPolicyDocument, Allowance, BudgetDocument, Cap, count_caps, money_caps, tightest


def check_budgets(findings: Findings, registry: Registry) -> Mapping[str, Allowance]:
    """Return what the model calls of each registered agent are capped by, by workload."""
    shared = [_checked(findings, document, registry) for document in findings.of("Budget")]
    return {
        agent.workload: _allowance(findings, agent, [cap for caps in shared for cap in caps if _covers(cap, agent)])
        for agent in registry.agents.values()
    }


def _checked(findings: Findings, document: Document, registry: Registry) -> list[Cap]:
    """Return a Budget's caps; warn where it holds for nobody, as one with a typing mistake does."""
    spec: BudgetDocument = document.spec
    whose, name = spec.whose
    known = {getattr(agent, whose) for agent in registry.agents.values()} if whose != "organisation" else {""}
    if name not in known and not findings.mistaken("Agent", "spec", whose, value=name):
        findings.warn(document, ("spec", whose), f"no agent has the {whose} {name!r}{nearest(name, known)}")
    return list(money_caps(spec, whose, name, document.name))


def _covers(cap: Cap, agent: Agent) -> bool:
    return cap.whose == "organisation" or cap.name == getattr(agent, cap.whose)


def _allowance(findings: Findings, agent: Agent, shared: list[Cap]) -> Allowance:
    caps, concurrent = list(shared), []
    for document in findings.of("AgentPolicy"):
        spec: AgentPolicyDocument = document.spec
        if spec.identity.workload != agent.workload:
            continue
        if (budget := spec.models.budget) is not None:
            caps += money_caps(budget, "agent", agent.workload, document.name)
        if (limits := spec.models.limits) is not None:
            caps += count_caps(limits, agent.workload, document.name)
            if limits.concurrent is not None:
                concurrent.append((document.name, limits.concurrent))
    return Allowance(tightest(caps), tuple(concurrent))
