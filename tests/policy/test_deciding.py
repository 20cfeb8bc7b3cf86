"""What decides a call besides its action: conditions, times, demands, and which of several permits it is under."""

import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from broker.connector import Comparison
from broker.errors import AccessDenied, ApprovalNeeded, ConditionFailed
from broker.policy import UNNARROWED, AgentPolicyDocument
from tests.support.policies import NOW, decide, policy, request, united

READ = {"resource": "crm.accounts", "actions": ["read"]}
SOON, LATER = NOW + datetime.timedelta(hours=1), NOW + datetime.timedelta(hours=2)


def rule(**more: Any) -> dict[str, Any]:
    """Return a rule that permits reading accounts, with more said of it."""
    return {**READ, **more}


# --- Conditions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "effect"), [(10, "permit"), (5000, "deny")])
def test_a_permit_applies_where_its_condition_is_true(amount: int, effect: str) -> None:
    """Issue 4, The language: per rule, `when`."""
    assert decide(policy(rule(when="arguments.amount <= 1000")), arguments={"amount": amount}).effect == effect


@pytest.mark.parametrize(("amount", "effect"), [(10, "permit"), (5000, "deny")])
def test_a_denial_applies_where_its_condition_is_true(amount: int, effect: str) -> None:
    """Deny overrides, where it applies."""
    denial = {"resource": "crm.accounts", "deny": ["read"], "when": "arguments.amount > 1000"}

    assert decide(policy(READ), policy(denial), arguments={"amount": amount}).effect == effect


def test_a_permit_that_cannot_be_evaluated_permits_nothing() -> None:
    """Issue 4, The language: an expression that errors refuses the call (own code) and tells the operator."""
    asked = request({})
    decision = united(policy(rule(when="arguments.amount <= 1000"))).decide(asked)

    assert (decision.effect, decision.reason) == ("deny", "condition_failed")
    assert [(one.rule.policy, one.rule.place) for one in decision.failed] == [("p0", "tools[0].actions")]
    with pytest.raises(ConditionFailed) as refused:
        decision.enforce(asked)
    assert "p0 tools[0].actions" in str(refused.value.detail)


def test_a_denial_that_cannot_be_evaluated_denies() -> None:
    """house-style.md: default to the safe end. Who cannot be told whether it is forbidden does not do it."""
    denial = {"resource": "crm.accounts", "deny": ["read"], "when": "arguments.amount > 1000"}

    decision = decide(policy(READ), policy(denial))

    assert (decision.effect, decision.reason) == ("deny", "condition_failed")


def test_another_permit_holds_where_one_cannot_be_evaluated() -> None:
    """Decision 0020: else taking the broken permit away would permit what was refused; the operator is told anyway."""
    decision = decide(policy(READ), policy(rule(when="arguments.amount <= 1000")))

    assert decision.effect == "permit"
    assert [one.rule.policy for one in decision.failed] == ["p1"]


# --- Times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "effect"),
    [
        (SOON - datetime.timedelta(seconds=1), "deny"),
        (SOON, "permit"),
        (LATER - datetime.timedelta(seconds=1), "permit"),
        (LATER, "deny"),
        (None, "deny"),
    ],
)
def test_a_permit_applies_from_and_until(time: datetime.datetime | None, effect: str) -> None:
    """Issue 4, The language: `valid_from/until`."""
    assert decide(policy(rule(valid_from=SOON, valid_until=LATER)), time=time).effect == effect


def test_a_denial_whose_time_cannot_be_told_applies() -> None:
    """Absent means less, also of time."""
    denial = {"resource": "crm.accounts", "deny": ["read"], "valid_until": SOON}

    assert decide(policy(READ, denial), time=None).effect == "deny"
    assert decide(policy(READ, denial), time=LATER).effect == "permit"


# --- Wildcards --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "permitted"),
    [
        ("crm.accounts", ["crm.accounts"]),
        ("crm.*", ["crm.accounts", "crm.contacts"]),
        ("*", ["crm.accounts", "crm.contacts", "wiki.pages"]),
        ("*.*", ["crm.accounts", "crm.contacts", "wiki.pages"]),
        ("*.pages", ["wiki.pages"]),
    ],
)
def test_a_wildcard_stands_for_a_whole_part(pattern: str, permitted: list[str]) -> None:
    """Issue 4, The language: by resource and action with whole-segment wildcards."""
    policies = united(policy({"resource": pattern, "actions": ["read"]}))
    resources = ("crm.accounts", "crm.contacts", "wiki.pages", "crm.unknown", "crmx.accounts")

    found = [one for one in resources if policies.decide(request(resource=one)).effect == "permit"]

    assert found == permitted


def test_every_action_means_every_action_that_is_offered() -> None:
    """An unknown anything never permits, whatever stands for all."""
    policies = united(policy({"resource": "*", "actions": ["*"], "deny": ["export"]}))

    found = {one: policies.decide(request(action=one)).effect for one in ("read", "update", "export", "drop", "*", "")}

    assert found == {"read": "permit", "update": "permit", "export": "deny", "drop": "deny", "*": "deny", "": "deny"}


def test_a_wildcard_that_only_denies_tells_of_nothing() -> None:
    """architecture.md, Names and answers: an agent knows only of what its policies permit or name."""
    policies = united(policy(READ, {"resource": "*", "deny": ["export"]}))

    assert policies.mentions("crm.accounts")
    assert not policies.mentions("wiki.pages")


# --- What permits are bound by ----------------------------------------------------------------------------------------


def test_a_permit_narrows_the_call() -> None:
    """Issue 4, The language: `fields`, `max_records`, `filter`."""
    narrow = rule(fields=["Name"], max_records=5, filter="Owner.Email = :on_behalf_of.email")

    scope = decide(policy(narrow)).scope

    assert (scope.fields, scope.records) == (frozenset({"Name"}), 5)
    assert scope.filters == (Comparison("Owner.Email", "=", "jane@example.com"),)


def test_a_call_is_under_one_permit_and_never_under_parts_of_two() -> None:
    """Decision 0021: fields of one permit on the records of another would be what nobody has permitted."""
    mine = rule(fields=["Name", "Phone"], filter="Owner.Email = :on_behalf_of.email")
    names = rule(fields=["Name"])

    scope = decide(policy(mine), policy(names)).scope

    assert (scope.fields, scope.filters) == (frozenset({"Name"}), ())


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        ({}, {"approval": {}}),
        ({"fields": ["Name"]}, {"approval": {}}),
        ({}, {"filter": "A = 1"}),
        ({"fields": ["Name"]}, {"filter": "A = 1"}),
        ({}, {"fields": ["Name"]}),
        ({"fields": ["Name", "Phone"]}, {"fields": ["Name"]}),
        ({}, {"max_records": 5}),
        ({"max_records": 6}, {"max_records": 5}),
        ({}, {"mask": ["Phone"]}),
        ({"max_bytes": 1000}, {"max_bytes": 100}),
    ],
)
def test_the_widest_permit_that_applies_is_the_one(wider: dict[str, Any], narrower: dict[str, Any]) -> None:
    """Permits unite: what one permits without a bound, another does not bind."""
    alone = decide(policy(rule(**wider)))

    for both in ((policy(rule(**wider)), policy(rule(**narrower))), (policy(rule(**narrower)), policy(rule(**wider)))):
        decision = decide(*both)
        assert (decision.effect, decision.scope, decision.obligations) == (
            alone.effect, alone.scope, alone.obligations
        )  # fmt: skip


def test_a_filter_that_cannot_be_bound_permits_nothing() -> None:
    """A missing parameter value refuses the call."""
    decision = decide(policy(rule(filter="Owner.Email = :on_behalf_of.email")), delegated=False)

    assert (decision.effect, decision.reason, decision.scope) == ("deny", "condition_failed", UNNARROWED)


def test_every_limit_of_every_permit_that_applies_binds() -> None:
    """architecture.md, The documents: every budget and limit applies."""
    first = rule(limits={"calls_per_day": 10, "concurrent": 2})
    second = rule(limits={"calls_per_minute": 3})
    elsewhere = rule(when="arguments.amount > 5", limits={"calls_per_hour": 1})

    limits = decide(policy(first), policy(second), policy(elsewhere), arguments={"amount": 1}).limits

    assert sorted((one.rule.policy, one.calls, one.per) for one in limits) == [
        ("p0", 2, "concurrent"), ("p0", 10, "day"), ("p1", 3, "minute")
    ]  # fmt: skip


def test_what_a_limit_counts_stays_when_rules_move() -> None:
    """A count that began anew with each edit of a file would be no limit."""
    limited = rule(limits={"calls_per_day": 10})
    other = {"resource": "wiki.pages", "actions": ["read"]}

    (before,) = decide(policy(limited)).limits
    (after,) = decide(policy(other, rule(limits={"calls_per_day": 20}))).limits

    assert before.key == after.key


def test_a_call_that_needs_approval_is_not_permitted() -> None:
    """architecture.md: needing a person's approval is a refusal with an id, never a wait."""
    asked = request()
    decision = united(policy(rule(approval={"by": ["admin", "approver"], "expires_minutes": 5}))).decide(asked)

    assert (decision.effect, decision.reason) == ("needs_approval", "approval_required")
    assert decision.approval is not None
    assert (decision.approval.by, decision.approval.exclude_owner) == (("admin", "approver"), True)
    with pytest.raises(ApprovalNeeded):
        decision.enforce(asked)


# --- Demands ----------------------------------------------------------------------------------------------------------

DEMANDS: list[tuple[dict[str, Any], dict[str, Any], str | None]] = [
    ({"on_behalf_of": True}, {}, None),
    ({"on_behalf_of": True}, {"delegated": False}, "require.on_behalf_of"),
    ({"on_behalf_of": False}, {"delegated": False}, None),
    ({"assurance": ["attested"]}, {}, None),
    ({"assurance": ["attested"]}, {"assurance": "peer"}, "require.assurance"),
    ({"assurance": ["attested"]}, {"assurance": "of a kind that nobody knew"}, "require.assurance"),
    ({"refuse_methods": ["unix-peer"]}, {"method": "unix-peer"}, "require.refuse_methods"),
    ({"refuse_methods": ["unix-peer"]}, {}, None),
]


@pytest.mark.parametrize(("demand", "asked", "place"), DEMANDS)
def test_a_demand_of_any_policy_binds_every_call(
    demand: dict[str, Any], asked: dict[str, Any], place: str | None
) -> None:
    """Issue 4: policies can require a delegation and refuse weak proofs; what one demands, no other forgoes."""
    decision = decide(policy(READ), policy(require=demand), **asked)

    assert (decision.effect == "permit") is (place is None)
    if place is not None:
        assert (decision.reason, [one.place for one in decision.rules]) == ("requirement_unmet", [place])


def test_an_unmet_demand_says_what_is_missing() -> None:
    """A refusal that an agent can act on."""
    asked = request(delegated=False)

    with pytest.raises(AccessDenied) as refused:
        united(policy(READ, require={"on_behalf_of": True})).decide(asked).enforce(asked)

    assert "on somebody's behalf" in refused.value.message


# --- Rolling out ------------------------------------------------------------------------------------------------------


def observing(*rules: dict[str, Any], writes: tuple[str, ...] = ()) -> AgentPolicyDocument:
    """Return a policy in observe mode."""
    return policy(*rules, enforcement="observe", observe={"until": SOON, "writes": list(writes)})


@pytest.mark.parametrize(
    ("action", "writes", "effect"),
    [
        ("search", (), "permit"),
        ("update", (), "deny"),
        ("update", ("update",), "permit"),
        ("update", ("*",), "permit"),
        ("drop", ("*",), "deny"),
    ],
)
def test_an_observing_policy_lets_reads_through_and_named_writes(
    action: str, writes: tuple[str, ...], effect: str
) -> None:
    """Issue 4: `enforcement: observe`: writes are excluded unless named, and every record says so."""
    decision = decide(observing(READ, writes=writes), action=action)

    assert decision.effect == effect
    assert decision.observed == ("no_rule_permits" if effect == "permit" else None)


def test_observing_ends() -> None:
    """It is for rollout only: it expires."""
    assert decide(observing(READ), action="search", time=SOON).effect == "deny"
    assert decide(observing(READ), action="search", time=None).effect == "deny"


def test_denials_and_demands_bind_while_observing() -> None:
    """Issue 4: denies still bind."""
    denial = {"resource": "crm.accounts", "deny": ["search"]}

    assert decide(observing(READ), policy(denial), action="search").effect == "deny"
    assert decide(observing(READ), policy(require={"on_behalf_of": True}), action="search", delegated=False).effect == (
        "deny"
    )


def test_what_an_observing_policy_does_not_speak_of_stays_shut() -> None:
    """Absent means less: rolling out a policy for accounts opens nothing else."""
    assert decide(observing(READ), resource="wiki.pages").effect == "deny"
    assert decide(observing(READ, {"resource": "wiki.pages", "deny": ["update"]}), resource="wiki.pages").effect == (
        "deny"
    )


def test_what_a_rule_permits_is_no_observation() -> None:
    """The records that say `observed` are exactly those that will be refused."""
    decision = decide(observing(READ))

    assert (decision.reason, decision.observed) == ("rule_permits", None)


# --- What a rule may not say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"deny": ["read"], "fields": ["Name"]}, "permits nothing"),
        ({"deny": ["read"], "limits": {"concurrent": 1}}, "permits nothing"),
        ({"actions": ["read"], "deny": ["update"], "when": "agent.team == 'x'"}, "a rule of its own"),
        ({"actions": ["read"], "deny": ["update"], "valid_until": SOON}, "a rule of its own"),
        ({"actions": ["read"], "valid_from": LATER, "valid_until": SOON}, "can never apply"),
        ({"actions": ["read"], "valid_from": datetime.datetime(2027, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"actions": ["read"], "limits": {}}, "names no limit"),
        ({"actions": ["read"], "limits": {"calls_per_day": 0}}, "greater than or equal to 1"),
        ({"actions": ["read"], "approval": {"by": []}}, "at least 1"),
        ({"actions": ["read"], "approval": {"by": ["auditor"]}}, "'admin' or 'approver'"),
        ({"actions": ["read"], "approval": {"webhook": "http://example.com"}}, "match pattern"),
        ({"actions": ["read"], "fields": []}, "at least 1"),
        ({"actions": ["read"], "max_records": 0}, "greater than or equal to 1"),
    ],
)
def test_a_rule_that_could_be_misread_is_refused(written: dict[str, Any], words: str) -> None:
    """A reader must not take a conditional denial for an absolute one, or a bound for one that binds."""
    with pytest.raises(ValidationError) as refused:
        policy({"resource": "crm.accounts", **written})

    assert words in str(refused.value)


@pytest.mark.parametrize(
    "spec",
    [{"enforcement": "observe"}, {"observe": {"until": SOON}}, {"enforcement": "observe", "observe": {"writes": []}}],
)
def test_observing_without_an_end_is_refused(spec: dict[str, Any]) -> None:
    """Issue 4: it expires."""
    with pytest.raises(ValidationError):
        policy(READ, **spec)
