"""Which rules of a workload speak of an action on a resource; what nobody offers, no wildcard speaks of."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from broker.policy.compiled import CompiledRule, WrittenPolicy
from broker.policy.decision import Rule
from broker.policy.narrowing import NOT_NARROWED, Narrowing

Offered = Mapping[str, Mapping[str, bool]]
"""Every resource that connectors offer, its actions, and whether an action only reads."""

NOTHING_OFFERED: Offered = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Observing:
    """A policy that is being rolled out: until a moment, what no rule permits is let through on its resources."""

    rule: Rule
    until: datetime.datetime
    writes: frozenset[str]

    @classmethod
    def of(cls, policy: WrittenPolicy) -> "Observing | None":
        """Return how long a policy is rolled out; None if it is in force."""
        part = policy.spec.observe
        return None if part is None else cls(policy.rule("observe"), part.until, frozenset(part.writes))

    def lets_through(self, action: str, known: Mapping[str, bool]) -> bool:
        """Tell whether it lets an action through: one that only reads, or that it names."""
        return action in known and (known[action] or bool({action, "*"} & self.writes))


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Everything that decides one action on one resource; permits are ordered, the widest first."""

    permits: tuple[CompiledRule, ...]
    denies: tuple[CompiledRule, ...]
    observing: tuple[Observing, ...]
    could: bool
    """Whether some call could be permitted."""
    narrowing: Narrowing


class RuleIndex:
    """The rules of one workload by what they speak of. What was looked up is kept, if somebody offers it."""

    def __init__(self, rules: Sequence[CompiledRule], policies: Sequence[WrittenPolicy], offered: Offered) -> None:
        """Index the rules of some policies."""
        self._offered = offered
        self._wild = tuple(rule for rule in rules if "*" in rule.resource)
        self._named: dict[str, list[CompiledRule]] = {}
        for rule in rules:
            if "*" not in rule.resource:
                self._named.setdefault(rule.resource, []).append(rule)
        self._observing = {policy.name: one for policy in policies if (one := Observing.of(policy)) is not None}
        self._entries: dict[tuple[str, str], Entry] = {}
        self._speaking: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def mentions(self, resource: str) -> bool:
        """Tell whether a rule names the resource, or permits something on it by a wildcard."""
        return resource in self._named or any(rule.actions for rule in self._wildcards(resource))

    def entry(self, resource: str, action: str) -> Entry:
        """Return what decides an action on a resource."""
        found = self._entries.get((resource, action))
        if found is None:
            found = self._found(resource, action)
            if action in self._offered.get(resource, ()):  # of what nobody offers, callers could name without end
                self._entries[resource, action] = found
        return found

    def speaking(self, resource: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what could be permitted on a resource, and the policies that speak of it."""
        found = self._speaking.get(resource)
        if found is None:
            rules = self._of(resource)
            named = {action for rule in rules for action in rule.actions} - {"*"}
            actions = {*named, *self._offered.get(resource, ())}
            could = tuple(sorted(action for action in actions if self.entry(resource, action).could))
            found = could, tuple(sorted({rule.permit.policy for rule in rules}))
            if resource in self._offered:
                self._speaking[resource] = found
        return found

    def _found(self, resource: str, action: str) -> Entry:
        known = self._offered.get(resource, {})
        rules = self._of(resource)
        permits = [one for one in rules if _names(one.actions, action, known) and _may_permit(one, action, known)]
        denies = tuple(one for one in rules if _names(one.denied, action, known))
        permitting = {one.permit.policy for one in rules if one.actions}
        observing = tuple(
            one for name, one in self._observing.items() if name in permitting and one.lets_through(action, known)
        )
        barred = any(not one.conditional for one in denies)
        return Entry(
            permits=tuple(sorted(permits, key=lambda one: one.rank)),
            denies=denies,
            observing=observing,
            could=not barred and bool(permits or observing),
            narrowing=Narrowing.of(permits) if permits and not observing else NOT_NARROWED,
        )

    def _of(self, resource: str) -> list[CompiledRule]:
        return [*self._named.get(resource, ()), *self._wildcards(resource)]

    def _wildcards(self, resource: str) -> list[CompiledRule]:
        return [rule for rule in self._wild if resource in self._offered and rule.matches(resource)]


def _names(actions: frozenset[str], action: str, known: Mapping[str, bool]) -> bool:
    return action in actions if action not in known else bool({action, "*"} & actions)


def _may_permit(rule: CompiledRule, action: str, known: Mapping[str, bool]) -> bool:
    """Tell whether a permit may speak of an action: a wildcard's only of what is offered."""
    return "*" not in rule.resource or action in known
