"""The policy decision point: what united policies permit, whatever their order, and what they never do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from broker.catalog import Catalog, catalog_tool
from broker.connector import Session, Tool, ToolCall
from broker.errors import AccessDenied
from broker.identity import WorkloadIdentity
from broker.policy import NO_POLICIES, AccessRequest, AgentPolicies, AgentPolicyDocument, WrittenPolicy

WORKLOAD = "spiffe://prod/agent/finance-analyst"
IDENTITY = WorkloadIdentity(WORKLOAD, "prod", "jwt-svid", "attested", "sha256:0")
RESOURCES = ("salesforce.accounts", "salesforce.contacts", "github.issues")
ACTIONS = ("read", "search", "update", "export")

Rules = list[dict[str, Any]]


def document(rules: Rules) -> AgentPolicyDocument:
    """Make a policy of these tool rules."""
    return AgentPolicyDocument.model_validate({"identity": {"workload": WORKLOAD}, "tools": rules}, strict=True)


def policies(*documents: Rules) -> AgentPolicies:
    """Unite policies, named p0, p1 and so on."""
    return AgentPolicies(
        WrittenPolicy(f"p{number}", f"digest{number}", document(rules)) for number, rules in enumerate(documents)
    )


def effect(united: AgentPolicies, resource: str, action: str) -> str:
    """Decide one request."""
    return united.decide(AccessRequest(IDENTITY, action, resource)).effect


def rule(*actions: str, resource: str = "salesforce.accounts", deny: tuple[str, ...] = ()) -> dict[str, Any]:
    """Write a tool rule."""
    return {"resource": resource, "actions": list(actions), "deny": list(deny)}


# --- A table of what documents mean -----------------------------------------------------------------------------------

TABLE: list[tuple[list[Rules], str, str, str, list[str]]] = [
    ([], "read", "deny", "no_rule_permits", []),
    ([[]], "read", "deny", "no_rule_permits", []),
    ([[rule("read")]], "read", "permit", "rule_permits", ["p0 tools[0].actions"]),
    ([[rule("read")]], "search", "deny", "no_rule_permits", []),
    ([[rule("read", resource="github.issues")]], "read", "deny", "no_rule_permits", []),
    ([[rule("read", deny=("read",))]], "read", "deny", "rule_denies", ["p0 tools[0].deny"]),
    ([[rule(deny=("read",))]], "read", "deny", "rule_denies", ["p0 tools[0].deny"]),
    ([[rule("read")], [rule("search")]], "search", "permit", "rule_permits", ["p1 tools[0].actions"]),
    (
        [[rule("read")], [rule("read")]], "read",
        "permit", "rule_permits", ["p0 tools[0].actions", "p1 tools[0].actions"],
    ),
    ([[rule("read")], [rule(deny=("read",))]], "read", "deny", "rule_denies", ["p1 tools[0].deny"]),
    ([[rule(deny=("read",))], [rule("read")]], "read", "deny", "rule_denies", ["p0 tools[0].deny"]),
    ([[rule("read"), rule("search")]], "search", "permit", "rule_permits", ["p0 tools[1].actions"]),
    ([[rule("read", "read")]], "read", "permit", "rule_permits", ["p0 tools[0].actions"]),
]  # fmt: skip


@pytest.mark.parametrize(("documents", "action", "wanted", "reason", "rules"), TABLE)
def test_policies_are_decided_as_the_table_says(
    documents: list[Rules], action: str, wanted: str, reason: str, rules: list[str]
) -> None:
    """architecture.md, The documents: permits unite, denies override; house-style.md: no applicable rule means deny."""
    decision = policies(*documents).decide(AccessRequest(IDENTITY, action, "salesforce.accounts"))

    assert (decision.effect, decision.reason) == (wanted, reason)
    assert [f"{rule.policy} {rule.place}" for rule in decision.rules] == rules


def test_a_decision_names_the_documents_that_made_it() -> None:
    """lessons.md, none has: policy version and rule in the record, so the digest goes with the name."""
    decision = policies([rule("read")]).decide(AccessRequest(IDENTITY, "read", "salesforce.accounts"))

    assert [(rule.policy, rule.digest) for rule in decision.rules] == [("p0", "digest0")]
    assert decision.policies == ("p0",)


def test_a_denial_names_the_policy_and_what_would_be_permitted() -> None:
    """architecture.md, Names and answers on the wire: with the policy's name and what would be allowed."""
    request = AccessRequest(IDENTITY, "export", "salesforce.accounts")
    decision = policies([rule("search", "read", deny=("export",))], [rule("update")]).decide(request)

    with pytest.raises(AccessDenied) as refused:
        decision.enforce(request)

    assert refused.value.code == "access_denied"
    assert refused.value.facts["reason"] == "rule_denies"
    assert refused.value.message == (
        "Policy p0 does not permit 'export' on salesforce.accounts. "
        "Permitted on salesforce.accounts: read, search, update."
    )


def test_a_denial_without_any_policy_is_a_sentence_too() -> None:
    """Nobody is told of a policy that is not there."""
    request = AccessRequest(IDENTITY, "read", "salesforce.accounts")

    with pytest.raises(AccessDenied) as refused:
        NO_POLICIES.decide(request).enforce(request)

    assert refused.value.message == "No policy permits 'read' on salesforce.accounts."


def test_a_permit_is_enforced_silently() -> None:
    """A check returns, or raises."""
    request = AccessRequest(IDENTITY, "read", "salesforce.accounts")

    policies([rule("read")]).decide(request).enforce(request)


def test_no_policies_mention_and_permit_nothing() -> None:
    """house-style.md: absent means less."""
    assert not NO_POLICIES.mentions("salesforce.accounts")
    assert not NO_POLICIES.could_permit("salesforce.accounts", "read")


def test_a_rule_that_only_denies_mentions_its_resource() -> None:
    """architecture.md, Names and answers: a forbidden action on a resource that is mentioned is denied, not unknown."""
    assert policies([rule(deny=("read",))]).mentions("salesforce.accounts")


# --- What holds for all of them ---------------------------------------------------------------------------------------

_ACTION = st.lists(st.sampled_from(ACTIONS), max_size=4)
_RULE = st.builds(lambda resource, actions, deny: rule(*actions, resource=resource, deny=tuple(deny)),
                  st.sampled_from(RESOURCES), _ACTION, _ACTION)  # fmt: skip
_DOCUMENTS = st.lists(st.lists(_RULE, max_size=3), max_size=4)
_RESOURCE, _ASKED = st.sampled_from((*RESOURCES, "unknown.things")), st.sampled_from((*ACTIONS, "unknown"))


@given(_DOCUMENTS, _RESOURCE, _ASKED, _RULE)
def test_adding_a_denial_never_permits(
    documents: list[Rules], resource: str, action: str, more: dict[str, Any]
) -> None:
    """XACML's deny-overrides: what a denial adds can only be less."""
    before = effect(policies(*documents), resource, action)

    after = effect(policies(*documents, [{**more, "actions": []}]), resource, action)

    assert (before, after) != ("deny", "permit")


@given(_DOCUMENTS, _RESOURCE, _ASKED, st.data())
def test_taking_a_permit_away_never_permits(
    documents: list[Rules], resource: str, action: str, data: st.DataObject
) -> None:
    """Less is permitted, or the same."""
    before = effect(policies(*documents), resource, action)
    fewer = [
        [
            {**one, "actions": data.draw(st.lists(st.sampled_from(one["actions"]))) if one["actions"] else []}
            for one in rules
        ]
        for rules in documents
    ]

    assert (before, effect(policies(*fewer), resource, action)) != ("deny", "permit")


@given(_DOCUMENTS, _RESOURCE, _ASKED, st.randoms())
def test_the_order_of_documents_and_rules_never_matters(
    documents: list[Rules], resource: str, action: str, order: Any
) -> None:
    """Files are read in some order; nobody should have to know which."""
    named = [(f"p{number}", f"d{number}", rules) for number, rules in enumerate(documents)]
    first = AgentPolicies(WrittenPolicy(name, digest, document(rules)) for name, digest, rules in named)
    order.shuffle(named)
    shuffled = [WrittenPolicy(name, digest, document(order.sample(rules, len(rules)))) for name, digest, rules in named]
    request = AccessRequest(IDENTITY, action, resource)

    one, other = first.decide(request), AgentPolicies(shuffled).decide(request)

    assert (one.effect, one.reason, one.permitted, one.policies) == (
        other.effect, other.reason, other.permitted, other.policies
    )  # fmt: skip
    assert {rule.policy for rule in one.rules} == {rule.policy for rule in other.rules}


@given(_DOCUMENTS, _RESOURCE, _ASKED)
def test_the_same_request_is_always_decided_the_same(documents: list[Rules], resource: str, action: str) -> None:
    """architecture.md, The rooms: decisions are a pure function."""
    united = policies(*documents)
    request = AccessRequest(IDENTITY, action, resource)

    assert united.decide(request) == united.decide(request) == policies(*documents).decide(request)


@given(_DOCUMENTS, _ASKED)
def test_an_unknown_resource_is_never_permitted(documents: list[Rules], action: str) -> None:
    """No applicable rule means deny."""
    assert effect(policies(*documents), "unknown.things", action) == "deny"


@given(_DOCUMENTS, _RESOURCE)
def test_an_unknown_action_is_never_permitted(documents: list[Rules], resource: str) -> None:
    """No applicable rule means deny: there is no action that stands for all."""
    assert {effect(policies(*documents), resource, action) for action in ("unknown", "*", "all", "")} == {"deny"}


@given(_DOCUMENTS, _RESOURCE, _ASKED)
def test_what_could_be_permitted_is_what_is_decided(documents: list[Rules], resource: str, action: str) -> None:
    """architecture.md, Names and answers: what no rule could permit is denied first; the two must not disagree."""
    united = policies(*documents)

    decision = united.decide(AccessRequest(IDENTITY, action, resource))

    assert united.could_permit(resource, action) is (decision.effect == "permit")
    assert (action in decision.permitted) is (decision.effect == "permit")
    assert bool(decision.policies) is united.mentions(resource)


async def _run(_call: ToolCall, _session: Session) -> Any:
    """Do nothing."""


_OFFERED = st.sets(st.tuples(st.sampled_from(RESOURCES), st.sampled_from(ACTIONS), st.booleans()))


@given(_DOCUMENTS, _OFFERED)
def test_visible_are_exactly_the_tools_that_work_and_could_be_permitted(
    documents: list[Rules], offered: set[tuple[str, str, bool]]
) -> None:
    """architecture.md, Names and answers on the wire: an agent sees only tools that some rule could permit."""
    united = policies(*documents)
    built = {(resource, action): works for resource, action, works in sorted(offered)}
    catalog = Catalog(
        catalog_tool(
            resource.split(".")[0],
            Tool(resource.split(".")[1], action, "", {}, {}, reads_only=True, run=_run if works else None),
        )
        for (resource, action), works in built.items()
    )

    visible = catalog.visible(united.could_permit)

    assert [(tool.resource, tool.action) for tool in visible] == sorted(
        place for place, works in built.items() if works and united.could_permit(*place)
    )


# --- What is recorded encrypted ---------------------------------------------------------------------------------------

_WORDS = ("arguments", "arguments.id", "arguments.fields", "result")


def recording(*documents: tuple[str, ...]) -> AgentPolicies:
    """Unite policies that have these parts of calls recorded, besides what is always recorded."""
    always = document([]).audit.record
    specs = [{"identity": {"workload": WORKLOAD}, "audit": {"record": [*always, *words]}} for words in documents]
    return AgentPolicies(
        WrittenPolicy(f"p{number}", "d", AgentPolicyDocument.model_validate(spec, strict=True))
        for number, spec in enumerate(specs)
    )


@pytest.mark.parametrize(
    ("documents", "recorded"),
    [
        ([()], ()),
        ([("result",)], ("result",)),
        ([("arguments.id",), ("arguments.fields", "result")], ("arguments.fields", "arguments.id", "result")),
        ([("arguments.id",), ("arguments",)], ("arguments",)),
        ([("arguments", "result", "result")], ("arguments", "result")),
    ],
)
def test_what_any_policy_has_recorded_is_recorded(documents: list[tuple[str, ...]], recorded: tuple[str, ...]) -> None:
    """Issue 3, What must be true: `audit.record: [..., arguments]`; of several policies, the union."""
    assert recording(*documents).recorded == recorded


@given(st.lists(st.lists(st.sampled_from(_WORDS)), max_size=4), st.randoms())
def test_what_is_recorded_does_not_depend_on_the_order_of_policies(documents: list[list[str]], order: Any) -> None:
    """Nothing that a policy asks for is left out, and nothing else is recorded."""
    asked = {word for words in documents for word in words}

    recorded = recording(*map(tuple, documents)).recorded
    order.shuffle(documents)

    assert recorded == recording(*map(tuple, documents)).recorded
    assert set(recorded) == {word for word in asked if "arguments" not in asked or "." not in word}


def test_without_policies_nothing_is_recorded_encrypted() -> None:
    """house-style.md: absent means less."""
    assert NO_POLICIES.recorded == ()


# --- The document -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"identity": {}},
        {"identity": {"workload": "finance-analyst"}},
        {"identity": {"workload": WORKLOAD}, "rules": []},
        {"identity": {"workload": WORKLOAD}, "tools": [{"resource": "sales*.accounts", "actions": ["read"]}]},
        {"identity": {"workload": WORKLOAD}, "tools": [{"resource": "salesforce.accounts", "actions": ["re*"]}]},
        {"identity": {"workload": WORKLOAD}, "tools": [{"resource": "salesforce.accounts", "allow": ["read"]}]},
        {"identity": {"workload": WORKLOAD}, "credentials": {"expose_to_agent": 1}},
        {"identity": {"workload": WORKLOAD}, "credentials": {"expose_to_agent": None}},
        {"identity": {"workload": WORKLOAD}, "credentials": {"injection": "header"}},
        {"identity": {"workload": WORKLOAD}, "credentials": {"injection": ["runtime"]}},
        {"identity": {"workload": WORKLOAD}, "audit": {"record": []}},
        {"identity": {"workload": WORKLOAD}, "audit": {"record": ["identity", "policy", "action"]}},
        *(
            {"identity": {"workload": WORKLOAD}, "audit": {"record": ["identity", "policy", "action", "outcome", word]}}
            for word in (
                "argument",
                "arguments.",
                "arguments.a.b",
                "arguments.a|b",
                "arguments.\n",
                "results",
                "",
                None,
            )
        ),
        {"identity": {"workload": WORKLOAD}, "models": {"budget": {"daily_usd": float("nan")}}},
    ],
)
def test_a_document_that_says_something_else_is_refused(spec: dict[str, Any]) -> None:
    """Issue 2, Documents: unknown keys, exposure, other injections and thinner records are refused at load."""
    with pytest.raises(ValidationError):
        AgentPolicyDocument.model_validate(spec, strict=True)


def test_what_a_document_leaves_out_is_the_safe_end() -> None:
    """house-style.md: absent means less."""
    found = document([])

    assert (found.models.allow, found.tools) == ([], [])
    assert (found.credentials.injection, found.credentials.expose_to_agent) == ("runtime", False)
    assert found.audit.record == ["identity", "policy", "action", "outcome"]
