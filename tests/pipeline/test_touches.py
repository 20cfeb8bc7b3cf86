"""A call that touches other resources: none may be denied, and where one needs an approval, the whole call does."""

from typing import Any

import pytest

from broker.catalog import CatalogTool
from broker.connector import Tool, Touch
from broker.errors import AccessDenied, ApprovalNeeded
from broker.pipeline.touches import Decided, decide
from tests.support.policies import policy, request, united

SEARCH: dict[str, Any] = {"resource": "crm.accounts", "actions": ["search"]}
CONTACTS: dict[str, Any] = {"resource": "crm.contacts", "actions": ["search"], "fields": ["Name"]}


def decided(*rules: dict[str, Any], field: str = "Name") -> Decided:
    """Decide a search of accounts that touches a field of contacts."""
    tool = Tool(
        "accounts",
        "search",
        "Searches.",
        {},
        {},
        reads_only=True,
        touches=lambda _: [Touch("contacts", "search", frozenset({field}))],
    )
    of_catalog = CatalogTool("crm_accounts_search", "crm", "crm.accounts", "search", tool, None)
    return decide(united(policy(*rules)), request(action="search"), of_catalog)


def approving(*roles: str, minutes: int = 60, exclude_owner: bool = False) -> dict[str, Any]:
    """Return what a rule says that needs an approval."""
    return {"approval": {"by": list(roles), "expires_minutes": minutes, "exclude_owner": exclude_owner}}


def test_a_call_whose_every_part_is_permitted_is_permitted_with_the_rules_of_all() -> None:
    """The positive control: each part's scope is the tool's to keep to."""
    found = decided(SEARCH, CONTACTS)

    found.enforce()
    assert found.decision.effect == "permit"
    assert [scope.fields for scope in found.touched] == [frozenset({"Name"})]
    assert [rule.place for rule in found.decision.rules] == ["tools[0].actions", "tools[1].actions"]


@pytest.mark.parametrize("rules", [(SEARCH,), (SEARCH, CONTACTS | {"deny": ["search"]})], ids=["no rule", "denied"])
def test_a_part_that_is_not_permitted_refuses_the_whole_and_is_named(rules: tuple[dict[str, Any], ...]) -> None:
    """Issue 4, Scope reaches the upstream: refused naming the first that lacks a permission."""
    with pytest.raises(AccessDenied) as refused:
        decided(*rules).enforce()

    assert "crm.contacts" in refused.value.message


def test_a_field_beyond_the_permit_refuses_the_whole() -> None:
    """Issue 4, Scope reaches the upstream: every field needs its own permission."""
    with pytest.raises(AccessDenied) as refused:
        decided(SEARCH, CONTACTS, field="Salary").enforce()

    assert "Salary" in refused.value.message


@pytest.mark.parametrize("approved", [SEARCH, CONTACTS], ids=["its own", "touched"])
def test_a_part_that_needs_an_approval_makes_the_whole_need_it(approved: dict[str, Any]) -> None:
    """Issue 4, Approval: what a person must approve is not reached through another resource's tool."""
    rules = [one | approving("approver") if one is approved else one for one in (SEARCH, CONTACTS)]

    found = decided(*rules)

    assert found.decision.effect == "needs_approval"
    assert [scope.fields for scope in found.touched] == [frozenset({"Name"})]
    with pytest.raises(ApprovalNeeded):
        found.enforce()


@pytest.mark.parametrize("approved", [SEARCH, CONTACTS], ids=["its own", "touched"])
def test_an_approval_does_not_permit_what_is_denied(approved: dict[str, Any]) -> None:
    """Deny overrides: also of a part of a call that a person would be asked about."""
    rules = [one | approving("approver") if one is approved else one for one in (SEARCH, CONTACTS)]

    found = decided(*rules, {"resource": "crm.contacts", "deny": ["search"]})

    assert found.decision.effect == "deny"


def test_where_two_parts_need_approvals_one_that_satisfies_both_is_asked_for() -> None:
    """The stricter of each: who may grant both, sooner gone, and the owner left out if one says so."""
    both = decided(
        SEARCH | approving("admin", "approver", minutes=10),
        CONTACTS | approving("approver", minutes=60, exclude_owner=True),
    ).decision.approval
    nobody = decided(SEARCH | approving("admin"), CONTACTS | approving("approver")).decision.approval

    assert both is not None
    assert (both.by, both.exclude_owner, both.expires_minutes) == (("approver",), True, 10)
    assert nobody is not None
    assert nobody.by == ()
