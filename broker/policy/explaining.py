"""Why a request is decided as it is, rule by rule, and what would change it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from broker.policy.compiled import CompiledRule
from broker.policy.condition import CannotEvaluate
from broker.policy.decision import Decision, Rule
from broker.policy.request import AccessRequest
from broker.policy.united import AgentPolicies

State = Literal["applies", "condition_false", "not_valid_now", "cannot_be_evaluated"]


@dataclass(frozen=True, slots=True)
class Considered:
    """A rule that speaks of the request, and whether it applies to it."""

    rule: Rule
    effect: Literal["permits", "denies"]
    state: State
    detail: str | None = None
    """The condition that is false, the times between which it applies, or why it cannot be evaluated."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision, every rule that speaks of the request, and what would change it, in sentences."""

    decision: Decision
    considered: tuple[Considered, ...]
    changes: tuple[str, ...]


def explain(policies: AgentPolicies, request: AccessRequest) -> Explanation:
    """Decide a request and say why."""
    decision = policies.decide(request)
    permits, denies = policies.speaking(request.resource, request.action)
    considered = (
        *(_considered(rule, rule.deny, "denies", request) for rule in denies),
        *(_considered(rule, rule.permit, "permits", request) for rule in permits),
    )
    return Explanation(decision, considered, tuple(_changes(decision, considered, request)))


def _considered(
    rule: CompiledRule, named: Rule, effect: Literal["permits", "denies"], request: AccessRequest
) -> Considered:
    try:
        applies = rule.permits(request) if effect == "permits" else rule.denies(request)
        if applies and effect == "permits":
            rule.scope(request)
    except CannotEvaluate as error:
        return Considered(named, effect, "cannot_be_evaluated", str(error))
    if applies:
        return Considered(named, effect, "applies")
    if not rule.is_valid(request.context.time):
        start, end = rule.valid_from, rule.valid_until
        words = [f"from {start.isoformat()}"] if start else []
        return Considered(named, effect, "not_valid_now", " ".join([*words, f"until {end.isoformat()}" if end else ""]))
    return Considered(named, effect, "condition_false", rule.when.text if rule.when is not None else None)


def _changes(decision: Decision, considered: tuple[Considered, ...], request: AccessRequest) -> Iterator[str]:
    what = f"{request.action!r} on {request.resource}"
    if decision.reason == "rule_denies":
        yield from (f"Take {request.action!r} out of {_place(rule)}: it denies." for rule in decision.rules)
        if not any(one.effect == "permits" for one in considered):
            yield f"No rule permits {what} either."
    elif decision.reason == "requirement_unmet":
        yield from (f"Make the call as {_place(rule)} demands." for rule in decision.rules)
    elif decision.reason == "condition_failed":
        yield from (f"Mend {_place(one.rule)}: {one.why}." for one in decision.failed)
    elif decision.effect == "deny" or decision.reason == "observed":
        waiting = [one for one in considered if one.effect == "permits"]
        yield from (f"{_place(one.rule)} would permit it {_if(one)}." for one in waiting)
        yield f"Name {request.action!r} under 'actions' of {'another' if waiting else 'a'} rule on {request.resource}."
    elif decision.effect == "needs_approval":
        yield f"An operator approves the call, as {_place(decision.rules[0])} demands."
    else:
        yield f"Without {_place(decision.rules[0])}" + (
            f", {_place(decision.rules[1])} would permit it." if decision.rules[1:] else ", nothing would permit it."
        )
        waiting = [one for one in considered if one.effect == "denies"]
        yield from (f"{_place(one.rule)} would deny it {_if(one)}." for one in waiting)


def _if(one: Considered) -> str:
    if one.state == "not_valid_now":
        return str(one.detail).strip()
    return f"if {one.detail}" if one.state == "condition_false" else f"but {one.detail}"


def _place(rule: Rule) -> str:
    where = f" ({rule.file}:{rule.line})" if rule.line else ""
    return f"{rule.policy} {rule.place}{where}"
