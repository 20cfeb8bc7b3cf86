"""A call that touches other resources than its own: each is decided as a call of its own, and none may be denied."""

from dataclasses import dataclass, replace

from broker.catalog import CatalogTool
from broker.connector import Scope, Touch
from broker.errors import AccessDenied
from broker.policy import AccessRequest, AgentPolicies, Approval, Decision


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision on a whole call, with the scope of everything that it touches, in the tool's order.

    Of a call that is permitted the rules and limits of every part stand in the decision; of one that is not, it is the
    decision on the first part that is not permitted, and `request` says which that is.
    """

    decision: Decision
    request: AccessRequest
    touched: tuple[Scope, ...] = ()
    refusal: AccessDenied | None = None

    def enforce(self) -> None:
        """Return if the whole call is permitted; raise what refuses its first part that is not."""
        if self.refusal is not None:
            raise self.refusal
        self.decision.enforce(self.request)


def decide(policies: AgentPolicies, access: AccessRequest, tool: CatalogTool) -> Decided:
    """Decide a call, and everything that the tool says it touches."""
    decision = policies.decide(access)
    if decision.effect == "deny" or tool.tool.touches is None:
        return Decided(decision, access)
    scopes: list[Scope] = []
    for touch in tool.tool.touches(access.arguments):
        resource = f"{tool.connector}.{touch.resource}"
        part = replace(access, resource=resource, action=touch.action, arguments=touch.arguments)
        one = policies.decide(part)
        if one.effect == "deny":
            return Decided(one, part)
        if (refusal := _beyond(one, touch, resource)) is not None:
            return Decided(replace(one, effect="deny", reason="no_rule_permits", rules=()), part, refusal=refusal)
        scopes.append(one.scope)
        decision = _both(decision, one)
    return Decided(decision, access, tuple(scopes))


def _beyond(decision: Decision, touch: Touch, resource: str) -> AccessDenied | None:
    """Return what refuses a touch of a field that the permit does not have, or that it hides in part."""
    fields, hidden = decision.scope.fields, decision.obligations.mask | decision.obligations.redact
    for name in sorted(touch.fields):
        if (fields is not None and name not in fields) or name in hidden:
            return AccessDenied(
                f"The agent's policies do not permit {touch.action!r} on the field {name} of {resource}.",
                reason="no_rule_permits",
            )
    return None


def _both(whole: Decision, part: Decision) -> Decision:
    """Unite the decisions on two parts, neither of which is denied; where one needs an approval, the whole does."""
    approval = _stricter(whole.approval, part.approval)
    if approval is not None:
        whole = replace(whole, effect="needs_approval", reason="approval_required", approval=approval)
    limits = {limit.key: limit for limit in (*whole.limits, *part.limits)}
    return replace(
        whole,
        rules=tuple(dict.fromkeys((*whole.rules, *part.rules))),
        policies=tuple(dict.fromkeys((*whole.policies, *part.policies))),
        limits=tuple(limits.values()),
        observed=whole.observed or part.observed,
    )


def _stricter(one: Approval | None, other: Approval | None) -> Approval | None:
    """Return the approval that satisfies both; where nobody may grant both, nobody may grant it."""
    if one is None or other is None:
        return one or other
    return Approval(
        by=tuple(role for role in one.by if role in other.by),
        exclude_owner=one.exclude_owner or other.exclude_owner,
        expires_minutes=min(one.expires_minutes, other.expires_minutes),
        webhook=one.webhook or other.webhook,
    )
