"""A tool rule as it decides: its condition compiled, its filter parsed, and its rank among the permits of one call."""

import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.connector import INVOKE, MODELS, Comparison, Scope
from broker.policy.condition import Condition, compile_condition
from broker.policy.decision import NO_OBLIGATIONS, Approval, Limit, Obligations, Per, Rule
from broker.policy.document import AgentPolicyDocument
from broker.policy.filter import Filter, parse_filter
from broker.policy.request import AccessRequest
from broker.policy.rule import ApprovalPart, ToolRule, covers

_OF_MODELS = f"{MODELS}."


@dataclass(frozen=True, slots=True)
class WrittenPolicy:
    """A policy's name and content, the digest of its file, and where its parts stand in it (`tools[0].deny`: 14)."""

    name: str
    digest: str
    spec: AgentPolicyDocument
    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)

    def rule(self, place: str) -> Rule:
        """Return what a decision names, for a place of the policy."""
        return Rule(self.name, self.digest, place, self.file, self.lines.get(place, 0))


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """One tool rule of one policy. `permit` and `deny` are what decisions name."""

    resource: str
    actions: frozenset[str]
    denied: frozenset[str]
    permit: Rule
    deny: Rule
    when: Condition | None
    valid_from: datetime.datetime | None
    valid_until: datetime.datetime | None
    fields: frozenset[str] | None
    max_records: int | None
    filter: Filter | None
    obligations: Obligations
    approval: Approval | None
    limits: tuple[Limit, ...]
    rank: tuple[Any, ...]
    """Orders permits, the widest first, by what they say and not by where they stand."""
    of_models: bool = False
    """Whether it stands under `models`: a wildcard speaks of models there, and of nothing else; nowhere else of any."""

    @property
    def conditional(self) -> bool:
        """Whether it may not apply to a request that it matches."""
        return self.when is not None or self.valid_from is not None or self.valid_until is not None

    @property
    def bounds(self) -> tuple[Any, ...]:
        """What a call under its permit is bound by, but for limits."""
        return self.fields, self.max_records, self.filter, self.approval, self.obligations

    @property
    def narrows(self) -> bool:
        """Whether its permit leaves less than the whole call."""
        return any(one is not None for one in self.bounds[:-1]) or bool(self.obligations)

    def places(self) -> tuple[Rule, ...]:
        """Return what decisions name of it: its permit, its denial, or both."""
        return (*((self.permit,) if self.actions else ()), *((self.deny,) if self.denied else ()))

    def matches(self, resource: str) -> bool:
        """Tell whether it speaks of a resource."""
        return self.of_models == resource.startswith(_OF_MODELS) and covers(self.resource, resource)

    def permits(self, request: AccessRequest) -> bool:
        """Tell whether its permit applies; raise `CannotEvaluate` if its condition has no value."""
        time = request.context.time
        if (self.valid_from or self.valid_until) and time is None:
            return False
        return self.is_valid(time) and (self.when is None or self.when.holds(request))

    def denies(self, request: AccessRequest) -> bool:
        """Tell whether its denial applies, as it does where the time is not known; raise `CannotEvaluate` likewise."""
        return self.is_valid(request.context.time) and (self.when is None or self.when.holds(request))

    def scope(self, request: AccessRequest) -> Scope:
        """Return what the permit narrows the call to; raise `CannotEvaluate` if its filter cannot be bound."""
        filters: tuple[Comparison, ...] = self.filter.bound(request) if self.filter is not None else ()
        return Scope(self.fields, self.max_records, filters)

    def is_valid(self, time: datetime.datetime | None) -> bool:
        """Tell whether a time is one at which it applies; where it is not known, it is."""
        if time is None:
            return True
        began = self.valid_from is None or self.valid_from <= time
        return began and (self.valid_until is None or time < self.valid_until)


def compile_rules(policy: WrittenPolicy) -> Iterator[CompiledRule]:
    """Yield a policy's rules; raise `ValueError` if one has a condition or a filter that is none."""
    for number, rule in enumerate(policy.spec.tools):
        yield _compile(policy, number, rule)
    for number, model in enumerate(policy.spec.models.allow):
        yield _compile_model(policy, number, model)


def _compile_model(policy: WrittenPolicy, number: int, model: str) -> CompiledRule:
    """Return what permits a model: nothing but that it is named."""
    place = policy.rule(f"models.allow[{number}]")
    return CompiledRule(
        resource=_OF_MODELS + model,
        actions=frozenset({INVOKE}),
        denied=frozenset(),
        permit=place,
        deny=place,
        when=None,
        valid_from=None,
        valid_until=None,
        fields=None,
        max_records=None,
        filter=None,
        obligations=NO_OBLIGATIONS,
        approval=None,
        limits=(),
        rank=(*(False,) * 9, model, policy.name, number),
        of_models=True,
    )


def _compile(policy: WrittenPolicy, number: int, rule: ToolRule) -> CompiledRule:
    place = f"tools[{number}]"
    permit = policy.rule(f"{place}.actions")
    obligations = Obligations(frozenset(rule.mask or ()), frozenset(rule.redact or ()), rule.max_bytes)
    return CompiledRule(
        resource=rule.resource,
        actions=frozenset(rule.actions),
        denied=frozenset(rule.deny),
        permit=permit,
        deny=policy.rule(f"{place}.deny"),
        when=compile_condition(rule.when) if rule.when is not None else None,
        valid_from=rule.valid_from,
        valid_until=rule.valid_until,
        fields=frozenset(rule.fields) if rule.fields is not None else None,
        max_records=rule.max_records,
        filter=parse_filter(rule.filter) if rule.filter is not None else None,
        obligations=obligations,
        approval=_approval(rule.approval),
        limits=tuple(_limits(policy, rule, permit)),
        rank=(*_width(rule, obligations), _text(rule), policy.name, number),
    )


def _width(rule: ToolRule, obligations: Obligations) -> tuple[Any, ...]:
    """Order permits: without approval before with, unfiltered before filtered, more fields and records before fewer."""
    return (
        rule.approval is not None,
        rule.filter is not None,
        rule.fields is not None,
        -len(rule.fields or ()),
        rule.max_records is not None,
        -(rule.max_records or 0),
        len(obligations.mask) + len(obligations.redact),
        obligations.max_bytes is not None,
        -(obligations.max_bytes or 0),
    )


def _approval(part: ApprovalPart | None) -> Approval | None:
    if part is None:
        return None
    return Approval(tuple(sorted(set(part.by))), part.exclude_owner, part.expires_minutes, part.webhook)


def _limits(policy: WrittenPolicy, rule: ToolRule, permit: Rule) -> Iterable[Limit]:
    if rule.limits is None:
        return
    counted: tuple[tuple[Per, int | None], ...] = (
        ("minute", rule.limits.calls_per_minute),
        ("hour", rule.limits.calls_per_hour),
        ("day", rule.limits.calls_per_day),
        ("concurrent", rule.limits.concurrent),
    )
    for per, calls in counted:
        if calls is not None:
            what = json.dumps([policy.name, rule.resource, sorted(set(rule.actions)), rule.when, per])
            yield Limit(hashlib.sha256(what.encode()).hexdigest()[:32], permit, calls, per)


def _text(rule: ToolRule) -> str:
    return json.dumps(rule.model_dump(mode="json"), sort_keys=True)
