"""What holds for all policies, whatever their rules say: properties, not examples."""

import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.policy import AgentPolicies, AgentPolicyDocument, Decision, WrittenPolicy
from tests.support.policies import AGENT, JANE, NOW, OFFERED, WORKLOAD, request

Rules = list[dict[str, Any]]
Spec = dict[str, Any]

ORDER = {"deny": 0, "needs_approval": 1, "permit": 2}
HOUR = datetime.timedelta(hours=1)

# True, false and without a value, of each kind of root
CONDITIONS = (
    "arguments.amount < 100", "arguments.amount >= 100", "arguments.missing == 1", "agent.team == 'finance'",
    "has(on_behalf_of.email)", "on_behalf_of.email == agent.owner", "context.assurance != 'attested'",
    "context.client == 'x'",
)  # fmt: skip
RESOURCES = ("crm.accounts", "crm.contacts", "wiki.pages", "crm.*", "*", "unknown.things")
ACTIONS = ("read", "search", "update", "export", "*", "unknown")
ASKED = (*(name for name in RESOURCES if "*" not in name), "no.such")

_MAYBE: Any = st.none()
_CONDITIONAL = {
    "when": _MAYBE | st.sampled_from(CONDITIONS),
    "valid_from": _MAYBE | st.sampled_from([NOW - HOUR, NOW, NOW + HOUR]),
    "valid_until": _MAYBE | st.sampled_from([NOW, NOW + 2 * HOUR]),
}
_NARROW = {
    "fields": _MAYBE | st.sampled_from([["Name"], ["Name", "Phone"]]),
    "max_records": _MAYBE | st.sampled_from([1, 10]),
    "filter": _MAYBE | st.sampled_from(["A = 1", "Owner.Email = :on_behalf_of.email"]),
    "mask": _MAYBE | st.just(["Phone"]),
    "limits": _MAYBE | st.just({"calls_per_day": 3}),
    "approval": _MAYBE | st.just({}),
}
_NAMES = st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3)


def _said(parts: dict[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in parts.items() if value is not None}
    if said.get("valid_from", NOW - HOUR) >= said.get("valid_until", NOW + 9 * HOUR):
        del said["valid_from"]
    return said


PERMITS = st.fixed_dictionaries(
    {"resource": st.sampled_from(RESOURCES), "actions": _NAMES, **_CONDITIONAL, **_NARROW}
).map(_said)
DENIALS = st.fixed_dictionaries({"resource": st.sampled_from(RESOURCES), "deny": _NAMES, **_CONDITIONAL}).map(_said)
DEMANDS = st.sampled_from(
    [{"on_behalf_of": True}, {"assurance": ["peer"]}, {"refuse_methods": ["jwt-svid"]}, {"on_behalf_of": False}]
)
OBSERVING = st.sampled_from([{"until": NOW + HOUR, "writes": writes} for writes in ([], ["update"], ["*"])])


@st.composite
def _specs(draw: st.DrawFn) -> Spec:
    spec: Spec = {"tools": draw(st.lists(PERMITS | DENIALS, max_size=3))}
    if draw(st.integers(0, 5)) == 0:
        spec["require"] = draw(DEMANDS)
    if draw(st.integers(0, 3)) == 0:
        spec |= {"enforcement": "observe", "observe": draw(OBSERVING)}
    return spec


SETS = st.lists(_specs(), max_size=3)
REQUESTS = st.builds(
    lambda resource, action, amount, delegated, time: request(
        {"amount": amount} if amount is not None else {}, action, resource, delegated=delegated, time=time
    ),
    st.sampled_from(ASKED),
    st.sampled_from(ACTIONS),
    st.sampled_from([None, 1, 100, "x"]),
    st.booleans(),
    st.sampled_from([None, NOW, NOW + HOUR]),
)


def unite(specs: list[Spec]) -> AgentPolicies:
    """Unite policies, named p0, p1 and so on."""
    return AgentPolicies([written(f"p{number}", spec) for number, spec in enumerate(specs)], OFFERED)


def written(name: str, spec: Spec) -> WrittenPolicy:
    """Return a policy under a name."""
    whole = {"identity": {"workload": WORKLOAD}, **spec}
    return WrittenPolicy(name, "d", AgentPolicyDocument.model_validate(whole, strict=True))


def said(decision: Decision) -> tuple[Any, ...]:
    """Return what a decision means for the call: not which of several equal rules is named first."""
    limits = sorted((one.key, one.calls, one.per) for one in decision.limits)
    policies = {rule.policy for rule in decision.rules}
    return (
        decision.effect, decision.reason, decision.scope, decision.obligations, decision.approval, limits,
        decision.permitted, decision.policies, policies, decision.observed,
    )  # fmt: skip


@settings(max_examples=40)
@given(SETS, REQUESTS, DENIALS)
def test_adding_a_denial_never_permits(specs: list[Spec], asked: Any, denial: dict[str, Any]) -> None:
    """Issue 4, Laws: also one whose condition has no value."""
    before, after = unite(specs).decide(asked), unite([*specs, {"tools": [denial]}]).decide(asked)

    assert ORDER[after.effect] <= ORDER[before.effect]


@settings(max_examples=40)
@given(SETS, REQUESTS, DEMANDS)
def test_adding_a_demand_never_permits(specs: list[Spec], asked: Any, demand: Any) -> None:
    """A demand is a denial of what does not meet it."""
    before, after = unite(specs).decide(asked), unite([*specs, {"require": demand}]).decide(asked)

    assert ORDER[after.effect] <= ORDER[before.effect]


@settings(max_examples=40)
@given(SETS, REQUESTS, st.data())
def test_removing_a_permit_never_permits(specs: list[Spec], asked: Any, data: st.DataObject) -> None:
    """Issue 4, Laws: also one whose condition has no value, or that needs approval."""
    fewer = [
        {**spec, "tools": [rule for rule in spec["tools"] if "deny" in rule or data.draw(st.booleans())]}
        for spec in specs
    ]

    before, after = unite(specs).decide(asked), unite(fewer).decide(asked)

    assert ORDER[after.effect] <= ORDER[before.effect]


@settings(max_examples=40)
@given(SETS, REQUESTS, st.randoms())
def test_the_order_of_documents_and_rules_never_matters(specs: list[Spec], asked: Any, order: Any) -> None:
    """Issue 4, Laws: also for the scope that a call gets, and what its limits are counted under."""
    named = [(f"p{number}", spec) for number, spec in enumerate(specs)]
    one = AgentPolicies([written(name, spec) for name, spec in named], OFFERED).decide(asked)
    order.shuffle(named)
    mixed = [written(name, {**spec, "tools": order.sample(spec["tools"], len(spec["tools"]))}) for name, spec in named]

    assert said(AgentPolicies(mixed, OFFERED).decide(asked)) == said(one)


@settings(max_examples=40)
@given(SETS, REQUESTS, REQUESTS)
def test_the_same_request_is_decided_the_same(specs: list[Spec], asked: Any, between: Any) -> None:
    """Issue 4, Laws: whatever was decided before, here or by other policies of the same text."""
    policies = unite(specs)
    first = policies.decide(asked)
    policies.decide(between)

    assert policies.decide(asked) == first == unite(specs).decide(asked)


@settings(max_examples=40)
@given(SETS, REQUESTS)
def test_an_unknown_anything_never_permits(specs: list[Spec], asked: Any) -> None:
    """Issue 4, Laws: what nobody offers, no wildcard and no rollout permits."""
    decision = unite([spec for spec in specs if not _names_unknown(spec)]).decide(asked)

    if decision.effect != "deny":
        assert asked.action in OFFERED[asked.resource]


def _names_unknown(spec: Spec) -> bool:
    return any("unknown" in f"{rule['resource']} {rule.get('actions')}" for rule in spec["tools"])


@settings(max_examples=40)
@given(SETS, REQUESTS)
def test_what_is_decided_was_listed_and_what_could_not_be_is_denied(specs: list[Spec], asked: Any) -> None:
    """Issue 4: list and call are separate phases, and the list is never the shorter."""
    policies = unite(specs)

    decision = policies.decide(asked)

    if decision.effect != "deny":
        assert policies.could_permit(asked.resource, asked.action)
        assert policies.mentions(asked.resource)


@settings(max_examples=40)
@given(SETS, REQUESTS)
def test_a_permitted_call_is_under_a_scope_that_one_rule_gives(specs: list[Spec], asked: Any) -> None:
    """Decision 0021: never parts of two."""
    decision = unite(specs).decide(asked)

    if decision.reason in ("rule_permits", "approval_required"):
        rules = [rule for spec in specs for rule in spec["tools"] if "actions" in rule]
        given_ = {(_set(rule.get("fields")), rule.get("max_records"), "filter" in rule) for rule in rules}
        assert (decision.scope.fields, decision.scope.records, bool(decision.scope.filters)) in given_


def _set(fields: list[str] | None) -> frozenset[str] | None:
    return None if fields is None else frozenset(fields)


def test_the_properties_are_looked_at_with_what_makes_each_condition_true_false_and_neither() -> None:
    """A property over conditions that are all alike would show nothing."""
    assert AGENT.owner == JANE.email
    effects = {
        unite([{"tools": [{"resource": "*", "actions": ["read"], "when": text}]}])
        .decide(request({"amount": amount} if amount else {}, delegated=delegated))
        .reason
        for text in CONDITIONS
        for amount in (None, 1)
        for delegated in (True, False)
    }
    assert effects == {"rule_permits", "no_rule_permits", "condition_failed"}
