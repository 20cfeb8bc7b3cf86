"""`salesforce.query`: what the parser takes, what a query touches, and that it runs within every scope."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.connector import Comparison, Scope
from broker.errors import AccessDenied, CursorInvalid, InvalidArguments, Refusal
from broker.testing.salesforce.objects import ACCOUNT, CONTACT
from broker.testing.salesforce.soql import parse as parse_as_the_service
from connectors.salesforce.snapshot import read_snapshot
from connectors.salesforce.soql import bind, parse

STARTER = Path(__file__).parents[2] / "broker/starter/connectors/salesforce.snapshot.json"
SNAPSHOT = read_snapshot(json.loads(STARTER.read_text()))
JANES = Scope(filters=(Comparison("Owner.Email", "=", "jane@example.com"),))


def touched(org: Any, soql: str) -> dict[str, set[str]]:
    """Return what a query touches, by resource."""
    touches = org.tools["query_run"].tool.touches
    assert touches is not None
    found = touches({"soql": soql})
    assert {one.action for one in found} == {"search"}
    return {one.resource: set(one.fields) for one in found}


TOUCHED: list[tuple[str, dict[str, set[str]]]] = [
    ("SELECT Id FROM Account", {"accounts": {"Id"}}),
    ("select id, NAME from account", {"accounts": {"Id", "Name"}}),
    ("SELECT COUNT() FROM Account WHERE Phone != null", {"accounts": {"Phone"}}),
    ("SELECT Id FROM Account ORDER BY Name", {"accounts": {"Id", "Name"}}),
    ("SELECT Id FROM Account WHERE (NOT (Phone = '1' OR (Rating = 'Hot' AND Website = null)))",
     {"accounts": {"Id", "Phone", "Rating", "Website"}}),
    ("SELECT Account.Phone FROM Contact", {"contacts": {"AccountId"}, "accounts": {"Phone"}}),
    ("SELECT Id FROM Contact WHERE Account.Rating = 'Hot' ORDER BY Account.Name",
     {"contacts": {"Id", "AccountId"}, "accounts": {"Rating", "Name"}}),
    ("SELECT Id, (SELECT Email FROM Contacts WHERE Phone != null) FROM Account",
     {"accounts": {"Id"}, "contacts": {"AccountId", "Email", "Phone"}}),
    ("SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact WHERE Email LIKE 'p%')",
     {"accounts": {"Id"}, "contacts": {"AccountId", "Email"}}),
]  # fmt: skip


@pytest.mark.parametrize(("soql", "expected"), TOUCHED, ids=[soql for soql, _ in TOUCHED])
def test_everything_that_a_query_touches_is_named(org: Any, soql: str, expected: dict[str, set[str]]) -> None:
    """Issue 5: every object, field, relationship and subquery needs its own permission."""
    assert touched(org, soql) == expected


@pytest.mark.parametrize(
    "soql",
    [
        "SELECT Owner.Email FROM Account",
        "SELECT Id FROM Account WHERE Owner.Email = 'x'",
        "SELECT Id FROM Account ORDER BY Owner.Name",
        "SELECT Id, (SELECT Id FROM Invoices__r) FROM Account",
    ],
)
def test_an_object_that_no_resource_is_mapped_to_is_denied(org: Any, soql: str) -> None:
    """No policy could permit it."""
    with pytest.raises(AccessDenied, match=r"User|Invoice__c"):
        touched(org, soql)


NOT_LET_THROUGH = (
    "",
    "SELECT",
    "SELECT Id",
    "SELECT * FROM Account",
    "SELECT FIELDS(ALL) FROM Account",
    "DELETE FROM Account",
    "SELECT COUNT(Id) FROM Account",
    "SELECT COUNT(Id), Name FROM Account GROUP BY Name",
    "SELECT MAX(Name) FROM Account",
    "SELECT Name FROM Account GROUP BY Name",
    "SELECT Name n FROM Account",
    "SELECT a.Name FROM Account a",
    "SELECT Id FROM Account, Account.Contacts c",
    "SELECT Id FROM Account FOR UPDATE",
    "SELECT Id FROM Account ALL ROWS",
    "SELECT Id FROM Account WITH SECURITY_ENFORCED",
    "SELECT Id FROM Account USING SCOPE mine",
    "SELECT TYPEOF Owner WHEN User THEN Id END FROM Account",
    "SELECT toLabel(Rating) FROM Account",
    "SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'",
    "SELECT Id FROM Account WHERE Name = :name",
    "SELECT Id FROM Account WHERE Name = Phone",
    "SELECT Id FROM Account WHERE Name = 'a",
    "SELECT Id FROM Account;",
    "SELECT Id FROM Account -- x",
    "SELECT Id FROM Account /* x */",
    "SELECT Id FROM Account LIMIT :x",
    "SELECT Id FROM Account LIMIT -1",
    "SELECT Id FROM Account LIMIT 1.5",
    "SELECT Id FROM Account OFFSET x",
    "SELECT Id FROM Account WHERE Name LIKE 'a' ESCAPE 'b'",
    "SELECT Id FROM Account WHERE DISTANCE(Loc, 'mi') < 3",
    "SELECT Id FROM Account WHERE CALENDAR_YEAR(CreatedDate) = 2024",
    "SELECT Id, FROM Account",
    "SELECT ,Id FROM Account",
    "SELECT Id FROM Account WHERE Name IN ()",
    "SELECT Id FROM Account WHERE Name INCLUDES ('a')",
    "SELECT Id FROM Account WHERE Name = 'a\nb'",
    "SELECT Id FROM Account WHERE Name = 'a\\x'",
    "SELECT Id, (SELECT Id, (SELECT Id FROM Cases) FROM Contacts) FROM Account",
    "SELECT Id FROM Nope",
    "SELECT Nope FROM Account",
    "SELECT Id, id FROM Account",
    "SELECT Account.Owner.Email FROM Contact",
    "SELECT Nope.Name FROM Account",
    "SELECT Id, (SELECT Id FROM Contact) FROM Account",
    "SELECT (SELECT COUNT() FROM Contacts) FROM Account",
    "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact LIMIT 1)",
    "SELECT Id FROM Account WHERE Id IN (SELECT Id, AccountId FROM Contact)",
    "SELECT Id FROM Account WHERE " + "(" * 60 + "Id = null" + ")" * 60,
    "SELECT Id FROM Account\x00",
    "SELECT Id FROM Account WHERE N\u0430me = 'a'",
)


@pytest.mark.parametrize("soql", NOT_LET_THROUGH)
def test_what_is_not_understood_is_not_sent(org: Any, soql: str) -> None:
    """A real parser of a part of SOQL: anything else is refused before the call has begun."""
    before = org.service.api_requests

    with pytest.raises(InvalidArguments):
        org.call("query_run", soql=soql)
    assert org.service.api_requests == before


@pytest.mark.parametrize("soql", [soql for soql, _ in TOUCHED])
def test_what_is_let_through_runs(org: Any, soql: str) -> None:
    """The query is written anew from what was parsed, and the service takes it."""
    found = org.call("query_run", soql=soql, limit=5)

    assert found["total"] if "COUNT" in soql else found["records"]


def test_rows_are_flat_and_subqueries_are_lists(org: Any) -> None:
    """Related fields stand under their paths."""
    found = org.call(
        "query_run",
        soql="SELECT Name, (SELECT LastName, Account.Name FROM Contacts LIMIT 1) FROM Account WHERE Name = 'null'",
    )

    (row,) = found["records"]
    assert row["Name"] == "null"
    assert [contact["Account.Name"] for contact in row["Contacts"]] == ["null"]


def test_a_query_goes_on_with_a_cursor(org: Any) -> None:
    """Its own LIMIT and OFFSET hold over the pages."""
    soql = "SELECT Name FROM Account ORDER BY Name LIMIT 25 OFFSET 5"
    whole = org.call("query_run", soql=soql, limit=2000)["records"]

    first = org.call("query_run", soql=soql, limit=10)
    second = org.call("query_run", soql=soql, limit=10, cursor=first["cursor"])
    third = org.call("query_run", soql=soql, limit=10, cursor=second["cursor"])

    assert first["records"] + second["records"] + third["records"] == whole
    assert (len(whole), third["more"], third["total"]) == (25, False, 25)
    with pytest.raises(CursorInvalid):
        org.call("query_run", soql="SELECT Name FROM Account ORDER BY Name", cursor=first["cursor"])


def test_a_query_sees_only_the_records_of_every_scope(org: Any) -> None:
    """Filters stand in the query, in its subqueries and in what follows IN; its own OR does not get around them."""
    jane = next(one["Id"] for one in org.service.org._records["User"].values() if one["Email"] == "jane@example.com")
    org.touched = {("accounts", "search"): JANES, ("contacts", "search"): JANES}

    found = org.call(
        "query_run",
        soql="SELECT OwnerId, (SELECT OwnerId FROM Contacts) FROM Account WHERE Name != null OR Rating = 'Hot'",
        limit=2000,
    )
    joined = org.call(
        "query_run", soql="SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact)", limit=2000
    )

    assert {row["OwnerId"] for row in found["records"]} == {jane}
    assert {one["OwnerId"] for row in found["records"] for one in row["Contacts"]} == {jane}
    of_janes = {one["AccountId"] for one in org.service.org.records(CONTACT) if one["OwnerId"] == jane}
    mine = {one["Id"] for one in org.service.org.records(ACCOUNT) if one["OwnerId"] == jane}
    assert {row["Id"] for row in joined["records"]} == mine & of_janes
    assert org.call("query_run", soql="SELECT COUNT() FROM Account")["total"] == len(mine)


def test_a_path_does_not_look_at_records_that_are_filtered(org: Any) -> None:
    """The service cannot narrow a related record, so the path is refused."""
    org.touched = {("accounts", "search"): JANES}

    with pytest.raises(AccessDenied, match="Account"):
        org.call("query_run", soql="SELECT Account.Name FROM Contact")
    with pytest.raises(AccessDenied, match="Account"):
        org.call("query_run", soql="SELECT Id FROM Contact WHERE Account.Name = 'Acme'")


def test_what_nobody_has_decided_is_not_queried(org: Any) -> None:
    """A call whose touches were not decided has no scope at all: absent means less."""
    tool = org.tools["query_run"].tool
    assert tool.run is not None
    org.touched = {}
    run = tool.run

    with pytest.raises(Refusal) as refused:
        org.undecided(run, soql="SELECT Id FROM Account")

    assert refused.value.code == "access_denied"


TEXTS = st.text(alphabet="aA'\"\\%_() \u00e9\U0001f680", max_size=12)


@settings(deadline=None, max_examples=60)
@given(value=TEXTS)
def test_what_is_written_anew_is_what_was_meant(value: str) -> None:
    """Whatever stands in a text, our parser and the service's read the same query, and the filter is in it."""
    quoted = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    query = bind(parse(f"SELECT Id FROM Account WHERE Name = {quoted} OR Phone = {quoted}"), SNAPSHOT)  # noqa: S608

    text = query.text(lambda _: ("OwnerId = '005000000000000AAA'",), limit=1)

    statement: Any = parse_as_the_service(text)
    own, scope = statement.condition.conditions
    assert [one.values[0].text for one in own.conditions[0:2]] == [quoted, quoted]
    assert (scope.field.text, scope.operator) == ("OwnerId", "=")
