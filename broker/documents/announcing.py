"""Where requests for approval, and alerts of budgets, are announced: webhooks, checked as egress will use them."""

from broker.documents.findings import Findings
from broker.documents.parse import Document
from broker.documents.snapshot import Announcing
from broker.documents.trust import certificate_authority, check_url, networks

_APPROVALS = ("spec", "approvals")


def check_announcing(findings: Findings, broker: Document | None) -> Announcing:
    """Return how webhooks are reached, and note those that never could be."""
    if broker is None:
        return Announcing()
    part = broker.spec.approvals
    private = networks(findings, broker, (*_APPROVALS, "private_ranges"), part.private_ranges)
    place = (*_APPROVALS, "certificate_authority")
    announcing = Announcing(private, certificate_authority(findings, broker, place, part.certificate_authority))
    for policy in findings.of("AgentPolicy"):
        for number, rule in enumerate(policy.spec.tools):
            if rule.approval is not None and rule.approval.webhook is not None:
                where = ("spec", "tools", number, "approval", "webhook")
                url = rule.approval.webhook
                check_url(findings, policy, where, url, announcing.reach(url))
        if policy.spec.models.budget is not None and (url := policy.spec.models.budget.webhook) is not None:
            check_url(findings, policy, ("spec", "models", "budget", "webhook"), url, announcing.reach(url))
    for budget in findings.of("Budget"):
        if (url := budget.spec.webhook) is not None:
            check_url(findings, budget, ("spec", "webhook"), url, announcing.reach(url))
    return announcing
