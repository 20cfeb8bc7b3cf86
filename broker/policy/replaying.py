"""What policies would have made of a request that the trail tells of: of its arguments there is only a digest."""

from typing import Literal

from broker.policy.decision import Decision, Effect
from broker.policy.request import AccessRequest
from broker.policy.united import AgentPolicies

UNKNOWN = frozenset({("arguments",)})
UNKNOWN_EMAIL = UNKNOWN | {("on_behalf_of", "email")}


def replayed(policies: AgentPolicies, request: AccessRequest) -> tuple[Effect | Literal["undetermined"], Decision]:
    """Decide a request whose `unknown` parts nobody can look at: undetermined where they would matter.

    What is only let through while a policy is rolled out is denied: that is what comes of it.
    """
    decision = policies.decide(request)
    effect: Effect = "deny" if decision.reason == "observed" else decision.effect
    if effect == "permit" or decision.reason in ("rule_denies", "requirement_unmet"):
        return effect, decision  # whatever else could apply is no narrower than that, or has no say
    missing = any(one.undetermined for one in decision.failed)
    could = policies.could_permit(request.resource, request.action)
    return ("undetermined" if missing and could else effect), decision
