"""All policies of one workload, united: what decides its calls, and what may be listed to it."""

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from broker.policy.case import PolicyTest
from broker.policy.compiled import CompiledRule, WrittenPolicy, compile_rules
from broker.policy.condition import CannotEvaluate, Undetermined
from broker.policy.decision import Decision, Failed, Reason, Rule
from broker.policy.document import sealed_words
from broker.policy.request import AccessRequest
from broker.policy.requirement import Requirements

Offered = Mapping[str, Mapping[str, bool]]
"""Every resource that connectors offer, its actions, and whether an action only reads."""

NOTHING_OFFERED: Offered = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class WrittenTest:
    """A test of a policy, and where it stands."""

    rule: Rule
    test: PolicyTest


@dataclass(frozen=True, slots=True, eq=False)
class _Observed:
    """A policy that is being rolled out: until a moment, what no rule permits is let through on its resources."""

    rule: Rule
    until: datetime.datetime
    writes: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """Everything that decides one action on one resource."""

    permits: tuple[CompiledRule, ...]
    denies: tuple[CompiledRule, ...]
    observed: tuple[_Observed, ...]
    could: bool
    narrowing: "Narrowing"


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What permits leave of an action at most, all of them together: for telling an agent, not for deciding."""

    fields: frozenset[str] | None = None
    records: int | None = None
    filtered: bool = False

    @classmethod
    def of(cls, permits: Sequence[CompiledRule]) -> "Narrowing":
        """Return what some permits leave; nothing is narrowed that one of them leaves whole."""
        fields = [one.fields for one in permits]
        records = [one.max_records for one in permits]
        return cls(
            fields=None if None in fields else frozenset().union(*(one for one in fields if one is not None)),
            records=None if None in records else max((one for one in records if one is not None), default=None),
            filtered=all(one.filter is not None for one in permits),
        )

    def __bool__(self) -> bool:
        return self.fields is not None or self.records is not None or self.filtered


UNNARROWED_LIST = Narrowing()


class AgentPolicies:
    """All policies of one workload. The order in which they are given does not matter."""

    def __init__(self, policies: Iterable[WrittenPolicy] = (), offered: Offered = NOTHING_OFFERED) -> None:
        """Compile them. A wildcard stands for what is `offered`; what nobody offers, no wildcard permits.

        Raises `ValueError` if a condition or a filter is none.
        """
        ordered = sorted(policies, key=lambda policy: policy.name)
        self._offered = offered
        self._rules = tuple(rule for policy in ordered for rule in compile_rules(policy))
        self._wild = tuple(rule for rule in self._rules if "*" in rule.resource)
        self._named: dict[str, list[CompiledRule]] = {}
        for rule in self._rules:
            if "*" not in rule.resource:
                self._named.setdefault(rule.resource, []).append(rule)
        self._requirements = tuple(found for policy in ordered if (found := Requirements.of(policy)) is not None)
        self._observing = {policy.name: _observing(policy) for policy in ordered if policy.spec.observe is not None}
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._spoken: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self.tests = tuple(
            WrittenTest(policy.rule(f"tests[{number}]"), test)
            for policy in ordered
            for number, test in enumerate(policy.spec.tests)
        )
        """What the policies say of themselves: all of them together are held to it."""
        self.recorded = sealed_words(word for policy in ordered for word in policy.spec.audit.record)
        """What of a call is recorded encrypted, whichever policy asks: `arguments` or some of them, `result`."""

    @property
    def rules(self) -> tuple[CompiledRule, ...]:
        """Every rule, by policy and place."""
        return self._rules

    def mentions(self, resource: str) -> bool:
        """Tell whether any policy speaks of the resource: only then may the agent know that it exists.

        A wildcard speaks of what it permits; what it only denies, it does not tell of.
        """
        return resource in self._named or any(rule.actions and rule.matches(resource) for rule in self._wilds(resource))

    def could_permit(self, resource: str, action: str) -> bool:
        """Tell whether some call of the action could be permitted; what could not is neither listed nor validated."""
        return self._entry(resource, action).could

    def speaking(self, resource: str, action: str) -> tuple[tuple[CompiledRule, ...], tuple[CompiledRule, ...]]:
        """Return the rules that permit an action, the widest first, and those that deny it, if they apply."""
        entry = self._entry(resource, action)
        return entry.permits, entry.denies

    def narrowing(self, resource: str, action: str) -> Narrowing:
        """Return what the permits of an action leave of it at most."""
        return self._entry(resource, action).narrowing

    @property
    def demands(self) -> tuple[str, ...]:
        """What is demanded of every call, in words."""
        return tuple(sorted({word for one in self._requirements for word in one.words()}))

    def observed_until(self, resource: str, action: str) -> tuple[datetime.datetime, ...]:
        """Return until when an action is let through whatever the rules say, by each policy that is rolled out."""
        return tuple(sorted({one.until for one in self._entry(resource, action).observed}))

    def decide(self, request: AccessRequest) -> Decision:
        """Decide one request. The same request is always decided the same."""
        entry = self._entry(request.resource, request.action)
        permitted, policies = self._speaking(request.resource)
        failed: list[Failed] = []

        # 1. Denials override. One that cannot be evaluated denies.
        denials = _applying(entry.denies, CompiledRule.denies, request, failed, lambda rule: rule.deny)
        if denials:
            rules = tuple(rule.deny for rule in denials)
            return Decision("deny", "rule_denies", rules, permitted, policies, failed=tuple(failed))
        if failed:
            return _not_evaluated(failed, permitted, policies)

        # 2. What is demanded of every call.
        if unmet := [rule for one in self._requirements for rule in one.unmet(request)]:
            return Decision("deny", "requirement_unmet", tuple(unmet), permitted, policies)

        # 3. Permits unite: the call is under the widest that applies. One that cannot be evaluated permits nothing.
        permits = _applying(entry.permits, CompiledRule.permits, request, failed, lambda rule: rule.permit)
        for rule in permits:
            try:
                scope = rule.scope(request)
            except CannotEvaluate as error:
                failed.append(_failed(rule.permit, error))
                continue
            return Decision(
                effect="permit" if rule.approval is None else "needs_approval",
                reason="rule_permits" if rule.approval is None else "approval_required",
                rules=(rule.permit, *(one.permit for one in permits if one is not rule)),
                permitted=permitted,
                policies=policies,
                scope=scope,
                obligations=rule.obligations,
                approval=rule.approval,
                limits=tuple(limit for one in permits for limit in one.limits),
                failed=tuple(failed),
            )

        # 4. Nothing applicable means deny, unless the policy is only being rolled out.
        refused = (
            _not_evaluated(failed, permitted, policies)
            if failed
            else Decision("deny", "no_rule_permits", (), permitted, policies)
        )
        return self._let_through(entry, request, refused) or refused

    def _let_through(self, entry: _Entry, request: AccessRequest, refused: Decision) -> Decision | None:
        time = request.context.time
        observing = tuple(one.rule for one in entry.observed if time is not None and time < one.until)
        if not observing:
            return None
        return replace(refused, effect="permit", reason="observed", rules=observing, observed=refused.reason)

    def _entry(self, resource: str, action: str) -> _Entry:
        found = self._entries.get((resource, action))
        if found is None:
            found = self._found(resource, action)
            if action in self._offered.get(resource, ()):  # of what nobody offers, callers could name without end
                self._entries[resource, action] = found
        return found

    def _found(self, resource: str, action: str) -> _Entry:
        known = self._offered.get(resource, {})
        rules = self._of(resource)
        permits = [one for one in rules if _names(one.actions, action, known) and _may_permit(one, action, known)]
        denies = tuple(one for one in rules if _names(one.denied, action, known))
        observed = tuple(
            self._observing[name]
            for name in sorted({one.permit.policy for one in rules if one.actions} & self._observing.keys())
            if known.get(action, False) or (action in known and self._lets_write(name, action))
        )
        barred = any(not one.conditional for one in denies)
        return _Entry(
            permits=tuple(sorted(permits, key=lambda one: one.rank)),
            denies=denies,
            observed=observed,
            could=not barred and bool(permits or observed),
            narrowing=Narrowing.of(permits) if permits and not observed else UNNARROWED_LIST,
        )

    def _lets_write(self, policy: str, action: str) -> bool:
        return bool({action, "*"} & self._observing[policy].writes)

    def _of(self, resource: str) -> list[CompiledRule]:
        return [*self._named.get(resource, ()), *self._wilds(resource)]

    def _wilds(self, resource: str) -> list[CompiledRule]:
        """Return the wildcard rules that match a resource; none match what nobody offers."""
        return [rule for rule in self._wild if resource in self._offered and rule.matches(resource)]

    def _speaking(self, resource: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what could be permitted on a resource, and the policies that speak of it."""
        found = self._spoken.get(resource)
        if found is None:
            rules = self._of(resource)
            named = {action for rule in rules for action in rule.actions} - {"*"}
            actions = {*named, *self._offered.get(resource, ())}
            could = tuple(sorted(action for action in actions if self._entry(resource, action).could))
            found = could, tuple(sorted({rule.permit.policy for rule in rules}))
            if resource in self._offered:
                self._spoken[resource] = found
        return found


def _observing(policy: WrittenPolicy) -> _Observed:
    part = policy.spec.observe
    assert part is not None  # noqa: S101 - the caller saw to it
    return _Observed(policy.rule("observe"), part.until, frozenset(part.writes))


def _names(actions: frozenset[str], action: str, known: Mapping[str, bool]) -> bool:
    return action in actions if action not in known else bool({action, "*"} & actions)


def _may_permit(rule: CompiledRule, action: str, known: Mapping[str, bool]) -> bool:
    """Tell whether a permit may speak of an action: a wildcard's only of what is offered."""
    return "*" not in rule.resource or action in known


def _applying(
    rules: tuple[CompiledRule, ...],
    applies: Callable[[CompiledRule, AccessRequest], bool],
    request: AccessRequest,
    failed: list[Failed],
    named: Callable[[CompiledRule], Rule],
) -> list[CompiledRule]:
    found = []
    for rule in rules:
        try:
            if applies(rule, request):
                found.append(rule)
        except CannotEvaluate as error:
            failed.append(_failed(named(rule), error))
    return found


def _failed(rule: Rule, error: CannotEvaluate) -> Failed:
    return Failed(rule, str(error), isinstance(error, Undetermined))


def _not_evaluated(failed: list[Failed], permitted: tuple[str, ...], policies: tuple[str, ...]) -> Decision:
    reason: Reason = "condition_failed"
    return Decision("deny", reason, tuple(one.rule for one in failed), permitted, policies, failed=tuple(failed))


NO_POLICIES = AgentPolicies()
