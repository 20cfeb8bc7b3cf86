"""What policies would have made of a request that the trail tells of: of its arguments there is only a digest."""

from typing import Literal

from broker.policy.decision import Decision, Effect
from broker.policy.request import AccessRequest
from broker.policy.united import AgentPolicies

UNKNOWN = frozenset({("arguments",)})
UNKNOWN_EMAIL = UNKNOWN | {("on_behalf_of", "email")}


def replayed(policies: AgentPolicies, request: AccessRequest) -> tuple[Effect | Literal["undetermined"], Decision]:
    """Decide a request whose `unknown` parts nobody can look at: undetermined where they would matter."""
    decision = policies.decide(request)
    if decision.effect == "permit" and decision.reason != "observed":
        return "permit", decision  # what else could apply is no narrower than that
    missing = any(one.undetermined for one in decision.failed)
    if not missing or not policies.could_permit(request.resource, request.action):
        return decision.effect, decision
    if decision.reason in ("rule_denies", "requirement_unmet"):
        return "deny", decision
    return "undetermined", decision
