"""Rules that say something and mean nothing: what can never apply, and what another rule always wins over."""

import datetime
from collections.abc import Iterator

from broker.identity import Agent, SpiffeId, WorkloadIdentity
from broker.policy.compiled import CompiledRule
from broker.policy.condition import CannotEvaluate
from broker.policy.decision import Rule
from broker.policy.request import AccessRequest
from broker.policy.united import AgentPolicies


def shadows(policies: AgentPolicies, agent: Agent | None, now: datetime.datetime) -> Iterator[tuple[Rule, str]]:
    """Yield each rule of one workload that decides nothing, and why. `agent` is its entry in the registry."""
    sure = [one for one in policies.rules if not one.conditional]
    for rule in policies.rules:
        for named in rule.places():
            why = _never(rule, agent, now) or (
                _denied(rule, sure) or _outdone(rule, sure) if named is rule.permit else _denied_anyway(rule, sure)
            )
            if why is not None:
                yield named, why


def _never(rule: CompiledRule, agent: Agent | None, now: datetime.datetime) -> str | None:
    """Say why a rule never applies, whatever is asked."""
    if rule.valid_until is not None and rule.valid_until <= now:
        return f"does not apply any more: it was valid until {rule.valid_until.isoformat()}"
    if rule.when is None or rule.when.roots - {"agent"} or (rule.when.roots and agent is None):
        return None
    workload = agent.workload if agent is not None else "spiffe://none/none"
    identity = WorkloadIdentity(workload, SpiffeId.parse(workload).trust_domain, "jwt-svid", "attested", "sha256:none")
    try:
        holds = rule.when.holds(AccessRequest(identity, "", "", {}, agent))
    except CannotEvaluate as error:
        return f"can never be evaluated: {error}"
    if holds:
        return None
    return "can never apply: its condition is always false" + (f" of {agent.name}" if agent and rule.when.roots else "")


def _denied(rule: CompiledRule, sure: list[CompiledRule]) -> str | None:
    """Say which rule denies everything that a permit permits."""
    for other in sure:
        if other.denied and other is not rule and _covers(other, other.denied, rule, rule.actions):
            return f"permits nothing: {_place(other.deny)} denies all of it, and a denial wins"
    return None


def _outdone(rule: CompiledRule, sure: list[CompiledRule]) -> str | None:
    """Say which rule permits the same, always and no more narrowly: this one's conditions and bounds mean nothing."""
    if rule.limits or not (rule.conditional or rule.narrows):
        return None
    for other in sure:
        binds = other is not rule and (other.filter is None or not other.filter.parameters)
        wins = other.rank < rule.rank or (rule.conditional and other.bounds == rule.bounds)
        if binds and wins and _covers(other, other.actions, rule, rule.actions):
            return f"changes nothing: {_place(other.permit)} permits the same in any case"
    return None


def _denied_anyway(rule: CompiledRule, sure: list[CompiledRule]) -> str | None:
    """Say which rule denies the same without a condition."""
    for other in sure if rule.conditional else ():
        if other.denied and _covers(other, other.denied, rule, rule.denied):
            return f"changes nothing: {_place(other.deny)} denies the same in any case"
    return None


def _covers(other: CompiledRule, names: frozenset[str], rule: CompiledRule, wanted: frozenset[str]) -> bool:
    """Tell whether one rule speaks of all that another speaks of."""
    return (names >= wanted or "*" in names) and _within(rule.resource, other.resource)


def _within(resource: str, pattern: str) -> bool:
    """Tell whether everything that a resource or pattern names is named by another pattern too."""
    if pattern in ("*", "*.*", resource):
        return True
    inner, outer = resource.split("."), pattern.split(".")
    return len(inner) == len(outer) and all(two in ("*", one) for one, two in zip(inner, outer, strict=True))


def _place(rule: Rule) -> str:
    return f"{rule.policy} {rule.place}" + (f" ({rule.file}:{rule.line})" if rule.line else "")
