"""Policies that are being rolled out: somebody should know, and it should not go on for ever."""

import datetime

from broker.documents.findings import Findings
from broker.documents.parse import Document
from broker.policy import AgentPolicyDocument

_LONG = datetime.timedelta(days=31)


def check_rollout(findings: Findings, document: Document) -> None:
    """Warn of a policy that lets calls through which its rules do not permit, or that has done so long enough."""
    spec: AgentPolicyDocument = document.spec
    if spec.observe is None:
        return
    place, now = ("spec", "observe", "until"), datetime.datetime.now(datetime.UTC)
    until = spec.observe.until.isoformat()
    if spec.observe.until <= now:
        findings.warn(document, place, f"the rollout was over at {until}; take 'enforcement: observe' out")
    elif spec.observe.until - now > _LONG:
        findings.warn(document, place, f"what no rule permits is let through until {until}: a rollout takes days")
    else:
        findings.warn(document, place, f"what no rule permits is let through until {until}")
