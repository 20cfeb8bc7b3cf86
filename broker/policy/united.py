"""All policies of one workload, united: what decides its calls, and what may be listed to it."""

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from broker.connector import Scope
from broker.policy.case import PolicyTest
from broker.policy.compiled import CompiledRule, WrittenPolicy, compile_rules
from broker.policy.condition import CannotEvaluate, Undetermined
from broker.policy.decision import Decision, Failed, Reason, Rule
from broker.policy.document import sealed_words
from broker.policy.index import NOTHING_OFFERED, Entry, Offered, RuleIndex
from broker.policy.narrowing import Narrowing
from broker.policy.request import AccessRequest
from broker.policy.requirement import Requirements


@dataclass(frozen=True, slots=True, eq=False)
class WrittenTest:
    """A test of a policy, and where it stands."""

    rule: Rule
    test: PolicyTest


class AgentPolicies:
    """All policies of one workload. The order in which they are given does not matter."""

    def __init__(self, policies: Iterable[WrittenPolicy] = (), offered: Offered = NOTHING_OFFERED) -> None:
        """Compile them. A wildcard stands for what is `offered`; what nobody offers, no wildcard permits.

        Raises `ValueError` if a condition or a filter is none.
        """
        ordered = sorted(policies, key=lambda policy: policy.name)
        self.rules = tuple(rule for policy in ordered for rule in compile_rules(policy))
        """Every rule, by policy and place."""
        self._index = RuleIndex(self.rules, ordered, offered)
        self._requirements = tuple(found for policy in ordered if (found := Requirements.of(policy)) is not None)
        self.tests = tuple(
            WrittenTest(policy.rule(f"tests[{number}]"), test)
            for policy in ordered
            for number, test in enumerate(policy.spec.tests)
        )
        """What the policies say of themselves: all of them together are held to it."""
        self.recorded = sealed_words(word for policy in ordered for word in policy.spec.audit.record)
        """What of a call is recorded encrypted, whichever policy asks: `arguments` or some of them, `result`."""

    def mentions(self, resource: str) -> bool:
        """Tell whether any policy speaks of the resource: only then may the agent know that it exists.

        A wildcard speaks of what it permits; what it only denies, it does not tell of.
        """
        return self._index.mentions(resource)

    def could_permit(self, resource: str, action: str) -> bool:
        """Tell whether some call of the action could be permitted; what could not is neither listed nor validated."""
        return self._index.entry(resource, action).could

    def speaking(self, resource: str, action: str) -> tuple[tuple[CompiledRule, ...], tuple[CompiledRule, ...]]:
        """Return the rules that permit an action, the widest first, and those that deny it, if they apply."""
        entry = self._index.entry(resource, action)
        return entry.permits, entry.denies

    def narrowing(self, resource: str, action: str) -> Narrowing:
        """Return what the permits of an action leave of it at most."""
        return self._index.entry(resource, action).narrowing

    @property
    def demands(self) -> tuple[str, ...]:
        """What is demanded of every call, in words."""
        return tuple(sorted({word for one in self._requirements for word in one.words()}))

    def observed_until(self, resource: str, action: str) -> tuple[datetime.datetime, ...]:
        """Return until when an action is let through whatever the rules say, by each policy that is rolled out."""
        return tuple(sorted({one.until for one in self._index.entry(resource, action).observing}))

    def decide(self, request: AccessRequest) -> Decision:
        """Decide one request. The same request is always decided the same."""
        entry = self._index.entry(request.resource, request.action)
        permitted, policies = self._index.speaking(request.resource)
        failed: list[Failed] = []

        # 1. Denials override. One that cannot be evaluated denies.
        denials = _applying(entry.denies, CompiledRule.denies, request, failed, lambda rule: rule.deny)
        if denials:
            rules = tuple(rule.deny for rule in denials)
            return Decision("deny", "rule_denies", rules, permitted, policies, failed=tuple(failed))
        if failed:
            return _refused(failed, permitted, policies)

        # 2. What is demanded of every call.
        if unmet := [rule for one in self._requirements for rule in one.unmet(request)]:
            return Decision("deny", "requirement_unmet", tuple(unmet), permitted, policies)

        # 3. Permits unite: the call is under the widest that applies. One that cannot be evaluated permits nothing.
        permits = _applying(entry.permits, CompiledRule.permits, request, failed, lambda rule: rule.permit)
        if bound := _bound(permits, request, failed):
            rule, scope = bound[0]
            return Decision(
                effect="permit" if rule.approval is None else "needs_approval",
                reason="rule_permits" if rule.approval is None else "approval_required",
                rules=tuple(one.permit for one, _ in bound),
                permitted=permitted,
                policies=policies,
                scope=scope,
                obligations=rule.obligations,
                approval=rule.approval,
                limits=tuple(limit for one, _ in bound for limit in one.limits),
                failed=tuple(failed),
            )

        # 4. Nothing applicable means deny, unless the policy is only being rolled out.
        return _let_through(entry, request, _refused(failed, permitted, policies))


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


def _bound(
    permits: list[CompiledRule], request: AccessRequest, failed: list[Failed]
) -> list[tuple[CompiledRule, Scope]]:
    """Return each permit with what it narrows the call to; one whose filter lacks a value permits nothing."""
    found = []
    for rule in permits:
        try:
            found.append((rule, rule.scope(request)))
        except CannotEvaluate as error:
            failed.append(_failed(rule.permit, error))
    return found


def _failed(rule: Rule, error: CannotEvaluate) -> Failed:
    return Failed(rule, str(error), isinstance(error, Undetermined))


def _refused(failed: list[Failed], permitted: tuple[str, ...], policies: tuple[str, ...]) -> Decision:
    """Return the denial of what no rule permits, or of what a rule that cannot be evaluated would have decided."""
    rules = tuple(one.rule for one in failed)
    reason: Reason = "condition_failed" if failed else "no_rule_permits"
    return Decision("deny", reason, rules, permitted, policies, failed=tuple(failed))


def _let_through(entry: Entry, request: AccessRequest, refused: Decision) -> Decision:
    """Return a permit that says what it would have been, if a policy of the action is being rolled out."""
    time = request.context.time
    observing = tuple(one.rule for one in entry.observing if time is not None and time < one.until)
    if not observing:
        return refused
    return replace(refused, effect="permit", reason="observed", rules=observing, observed=refused.reason)


NO_POLICIES = AgentPolicies()
