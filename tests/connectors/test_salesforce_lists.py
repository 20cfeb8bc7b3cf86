"""Lists that fit an agent: pages, cursors, totals, budgets, scopes; related records, across objects, exported."""

from typing import Any

import pytest

from broker.connector import Comparison, Scope
from broker.errors import AccessDenied, CursorInvalid, InvalidArguments, Refusal, UpstreamNotFound
from broker.testing.salesforce import Answer
from broker.testing.salesforce.objects import ACCOUNT, CONTACT, INVOICE, OPPORTUNITY

JANES = Scope(filters=(Comparison("Owner.Email", "=", "jane@example.com"),))


def records_of(org: Any, sobject: Any) -> list[dict[str, Any]]:
    """Return what the org really has."""
    found: list[dict[str, Any]] = org.service.org.records(sobject)
    return found


def user(org: Any, email: str) -> str:
    """Return the id of a user."""
    return str(next(one["Id"] for one in org.service.org._records["User"].values() if one["Email"] == email))


def pages(org: Any, name: str, **arguments: Any) -> list[dict[str, Any]]:
    """Follow the cursors to the end."""
    found = [org.call(name, **arguments)]
    while found[-1]["more"]:
        found.append(org.call(name, **arguments, cursor=found[-1]["cursor"]))
    return found


# --- Pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [None, [{"field": "Name"}]])
def test_every_record_comes_once_over_the_pages(org: Any, order: Any) -> None:
    """With an order of its own or without; the last page knows how many there were."""
    by = {"order_by": order} if order else {}

    found = pages(org, "accounts_search", fields=["Name"], limit=50, **by)

    assert [len(page["records"]) for page in found] == [50, 50, 20]
    names = [record["Name"] for page in found for record in page["records"]]
    assert sorted(names) == sorted(one["Name"] for one in records_of(org, ACCOUNT))
    assert found[-1]["total"] == 120
    assert "total" not in found[0]
    assert "cursor" not in found[-1]


def test_a_cursor_shows_nothing_of_where_it_is(org: Any) -> None:
    """Sealed: an id that the policy does not let out is not in it."""
    first = org.call("accounts_search", fields=["Name"], limit=1)
    second = org.call("accounts_search", fields=["Name"], limit=1)

    assert first["records"] == second["records"]
    assert first["cursor"] != second["cursor"]


@pytest.mark.parametrize(
    "changes",
    [
        {"fields": ["Id"]},
        {"filters": [{"field": "Name", "operator": "is_not_null"}]},
        {"order_by": [{"field": "Name"}]},
    ],
)
def test_a_cursor_is_good_for_its_query_only(org: Any, changes: dict[str, Any]) -> None:
    """What an agent may see is decided anew, so the place in one query is no place in another."""
    cursor = org.call("accounts_search", fields=["Name"], limit=1)["cursor"]

    with pytest.raises(CursorInvalid):
        org.call("accounts_search", **{"fields": ["Name"], "limit": 1, "cursor": cursor, **changes})


def test_a_cursor_is_good_for_its_agent_its_tool_and_its_scope_only(org: Any) -> None:
    """Issue 5: bound to agent and query, so that it cannot be used by another."""
    asked = {"fields": ["Name"], "limit": 1}
    cursor = org.call("accounts_search", **asked)["cursor"]

    org.agent = "spiffe://prod/agent/other"
    with pytest.raises(CursorInvalid):
        org.call("accounts_search", **asked, cursor=cursor)
    org.take_back()
    org.scope = JANES
    with pytest.raises(CursorInvalid):
        org.call("accounts_search", **asked, cursor=cursor)


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "A" * 4096, "00" * 30])
def test_a_cursor_that_was_made_up_is_refused(org: Any, cursor: str) -> None:
    """Forging one needs the broker's key."""
    with pytest.raises(CursorInvalid):
        org.call("accounts_search", fields=["Name"], cursor=cursor)


def test_a_changed_cursor_is_refused(org: Any) -> None:
    """One character is enough."""
    cursor = org.call("accounts_search", fields=["Name"], limit=1)["cursor"]
    other = cursor[:-6] + ("A" if cursor[-6] != "A" else "B") + cursor[-5:]

    with pytest.raises(CursorInvalid):
        org.call("accounts_search", fields=["Name"], limit=1, cursor=other)


def test_how_many_there_are_can_be_asked_with_the_records_or_without(org: Any) -> None:
    """COUNT(): one more request, and only where it is asked for."""
    hot = [{"field": "Rating", "operator": "equals", "value": "Hot"}]
    expected = len([one for one in records_of(org, ACCOUNT) if one["Rating"] == "Hot"])

    beside = org.call("accounts_search", filters=hot, fields=["Id"], limit=2, count=True)
    alone = org.call("accounts_search", filters=hot, limit=0, count=True)

    assert (len(beside["records"]), beside["total"], beside["more"]) == (2, expected, True)
    assert alone == {"records": [], "more": True, "total": expected}


def test_an_offset_leaves_the_first_out(org: Any) -> None:
    """OFFSET, up to what the service takes; a cursor says where to go on by itself."""
    by = [{"field": "Name"}]
    all_of_them = org.call("accounts_search", fields=["Name"], order_by=by, limit=2000)["records"]

    found = org.call("accounts_search", fields=["Name"], order_by=by, limit=3, offset=7)

    assert found["records"] == all_of_them[7:10]
    with pytest.raises(InvalidArguments, match="offset"):
        org.call("accounts_search", fields=["Name"], offset=1, cursor=found["cursor"])
    with pytest.raises(InvalidArguments):
        org.call("accounts_search", fields=["Name"], offset=2001)


def test_a_large_result_is_cut_at_the_budget_and_says_how_to_get_the_rest(org: Any) -> None:
    """Issue 5: results fit an agent, and nothing is lost."""
    org.most_bytes = 6000

    found = pages(org, "accounts_search", limit=2000)

    assert len(found) > 10
    assert sum(len(page["records"]) for page in found) == 120
    assert len({record["Id"] for page in found for record in page["records"]}) == 120


@pytest.mark.parametrize(
    ("literal", "operator", "expected"),
    [("LAST_N_DAYS:1", "equals", 0), ("TODAY", "less", 150), ("next_year", "greater", 0), ("THIS_MONTH", "equals", 0)],
)
def test_dates_can_be_named_by_what_they_are_to_today(org: Any, literal: str, operator: str, expected: int) -> None:
    """Date literals, for dates and moments."""
    conditions = [{"field": "CreatedDate", "operator": operator, "value": literal}]

    assert org.call("opportunities_search", filters=conditions, limit=0, count=True)["total"] == expected


# --- Within a scope --------------------------------------------------------------------------------------------------


def test_a_filter_becomes_part_of_the_query_that_the_service_runs(org: Any) -> None:
    """Issue 4: Owner.Email = :on_behalf_of.email; what is outside is neither found nor counted."""
    org.scope = JANES
    mine = {one["Id"] for one in records_of(org, ACCOUNT) if one["OwnerId"] == user(org, "jane@example.com")}

    found = org.call("accounts_search", fields=["Id"], limit=2000, count=True)

    assert {record["Id"] for record in found["records"]} == mine
    assert found["total"] == len(mine)
    queries = [one.query for one in org.service.requests[-2:]]
    assert all("Owner.Email = 'jane@example.com'" in query for query in queries)


def test_an_agents_own_conditions_do_not_get_around_a_filter(org: Any) -> None:
    """'match: any' joins its own conditions, not the filter."""
    org.scope = JANES
    conditions = [
        {"field": "Name", "operator": "is_not_null"},
        {"field": "Rating", "operator": "equals", "value": "Hot"},
    ]

    found = org.call("accounts_search", filters=conditions, match="any", fields=["OwnerId"], limit=2000)

    assert {record["OwnerId"] for record in found["records"]} == {user(org, "jane@example.com")}


def test_a_read_by_id_is_a_query_with_the_filter(org: Any) -> None:
    """A record outside is not found, in the same words as one that is not there."""
    owners = {one["OwnerId"]: one["Id"] for one in records_of(org, ACCOUNT)}
    mine, others = owners[user(org, "jane@example.com")], owners[user(org, "omar@example.com")]
    org.scope = JANES

    assert org.call("accounts_read", id=mine, fields=["Id"]) == {"record": {"Id": mine}}
    messages = []
    for identifier in (others, "001000000000000AAA"):
        with pytest.raises(UpstreamNotFound) as refused:
            org.call("accounts_read", id=identifier)
        messages.append(refused.value.message)
    assert messages[0] == messages[1]


def test_fields_outside_the_scope_are_neither_shown_nor_searched_by(org: Any) -> None:
    """Searching by a field tells what it holds, record by record."""
    org.scope = Scope(fields=frozenset({"Id", "Name"}))

    found = org.call("accounts_search", limit=1)

    assert found["records"][0].keys() == {"Id", "Name"}
    for arguments in (
        {"fields": ["Phone"]},
        {"filters": [{"field": "Phone", "operator": "starts_with", "value": "+1"}]},
        {"filters": [{"any_of": [{"field": "Phone", "operator": "is_null"}]}]},
        {"order_by": [{"field": "Phone"}]},
    ):
        with pytest.raises(AccessDenied, match="Phone"):
            org.call("accounts_search", **arguments)


def test_no_more_records_are_returned_than_the_scope_has(org: Any) -> None:
    """`max_records` of a rule."""
    org.scope = Scope(records=3)

    found = org.call("accounts_search", fields=["Id"], limit=50)

    assert (len(found["records"]), found["more"]) == (3, True)


@pytest.mark.parametrize(
    "comparison",
    [
        Comparison("Owner.Email", "=", ""),
        Comparison("Owner.Email", "in", []),
        Comparison("Owner.Email", "in", ["jane@example.com", ""]),
        Comparison("Owner.Nope", "=", "x"),
        Comparison("Nope", "=", "x"),
        Comparison("Description", "=", "x"),
        Comparison("AnnualRevenue", "=", "much"),
        Comparison("OwnerId", "=", "me"),
    ],
)
def test_a_filter_that_cannot_be_asked_refuses_the_call(org: Any, comparison: Comparison) -> None:
    """An empty text equals null to the service: nobody's records would be everybody's."""
    org.scope = Scope(filters=(comparison,))

    with pytest.raises(AccessDenied):
        org.call("accounts_search", fields=["Id"])


def test_what_filters_may_speak_of_is_declared(org: Any) -> None:
    """Tool.filterable: a policy that filters by another is refused when it is loaded."""
    by = org.tools["contacts_search"].tool.filterable

    assert {"Email", "OwnerId", "Owner.Email", "Account.Name"} <= by
    assert by.isdisjoint({"Description", "Account.Description", "Owner.Nope"})


@pytest.mark.parametrize("text", ["x' OR Name != '", "\\", "a\\' OR Id != null OR Name = \\'", "x'; DELETE"])
def test_a_value_of_a_filter_is_never_a_query(org: Any, text: str) -> None:
    """It may come from a token's claim, which somebody chose."""
    org.scope = Scope(filters=(Comparison("Owner.Email", "=", text),))

    assert org.call("accounts_search", fields=["Id"])["records"] == []


# --- Related ---------------------------------------------------------------------------------------------------------


def test_related_records_are_listed(org: Any) -> None:
    """The contacts of an account, a page at a time."""
    account = records_of(org, ACCOUNT)[10]["Id"]
    expected = {one["Id"] for one in records_of(org, CONTACT) if one["AccountId"] == account}

    found = pages(org, "accounts_related", id=account, relationship="Contacts", fields=["Id"], limit=1)

    assert {record["Id"] for page in found for record in page["records"]} == expected
    assert len(found) == len(expected) > 1


def test_related_records_are_within_the_scope_of_their_own_resource(org: Any) -> None:
    """And their parent within its own."""
    account = records_of(org, ACCOUNT)[10]
    other = next(one["Email"] for one in org.service.org._records["User"].values() if one["Id"] != account["OwnerId"])
    asked = {"id": account["Id"], "relationship": "Contacts", "fields": ["OwnerId"]}

    org.touched = {("contacts", "search"): JANES}
    found = org.call("accounts_related", **asked)
    assert {record["OwnerId"] for record in found["records"]} <= {user(org, "jane@example.com")}

    org.scope = Scope(filters=(Comparison("Owner.Email", "=", other),))
    with pytest.raises(UpstreamNotFound):
        org.call("accounts_related", **asked)


def test_what_is_touched_is_told_before_the_call(org: Any) -> None:
    """The pipeline decides it as a search of the other resource."""
    touches = org.tools["accounts_related"].tool.touches
    assert touches is not None

    (touch,) = touches({"id": "x", "relationship": "Contacts", "fields": ["Email"]})

    assert (touch.resource, touch.action, touch.fields) == ("contacts", "search", {"Email", "AccountId"})


# --- Across ----------------------------------------------------------------------------------------------------------


def test_words_are_found_across_resources(org: Any) -> None:
    """SOSL, each resource with the fields that it has."""
    found = org.call(
        "search_find", text="o'brien", resources=["accounts", "contacts"], fields=["Name", "Email"], limit=2
    )

    assert [one["resource"] for one in found["results"]] == ["accounts", "contacts", "contacts"]
    assert found["results"][0]["record"] == {"Name": "O'Brien & Sons"}
    assert found["results"][1]["record"].keys() == {"Name", "Email"}
    assert found["more"] is True


def test_a_search_across_is_within_every_scope(org: Any) -> None:
    """Fields, filters and records of each resource."""
    org.touched = {
        ("accounts", "search"): JANES,
        ("contacts", "search"): Scope(fields=frozenset({"Id", "LastName"}), records=1),
    }

    found = org.call("search_find", text="o'brien", resources=["accounts", "contacts"], fields=["Id", "LastName"])

    assert [one["resource"] for one in found["results"]].count("contacts") == 1
    assert all(one["record"].keys() <= {"Id", "LastName"} for one in found["results"] if one["resource"] == "contacts")
    assert "Owner.Email = 'jane@example.com'" in org.service.requests[-1].query


@pytest.mark.parametrize(
    "text", ["{acme}", "acme} RETURNING User", "a*c?me", "acme AND nobody", '"acme', "acme\\", "(acme"]
)
def test_words_of_a_search_are_only_words(org: Any, text: str) -> None:
    """Every sign that SOSL knows is escaped."""
    found = org.call("search_find", text=text, resources=["accounts"], fields=["Id"])

    assert all(one["resource"] == "accounts" for one in found["results"])


@pytest.mark.parametrize("text", ["  ", "a", "*?", "AND OR"])
def test_a_search_for_nothing_is_refused(org: Any, text: str) -> None:
    """The index knows words of two letters or more."""
    with pytest.raises(InvalidArguments):
        org.call("search_find", text=text, resources=["accounts"], fields=["Id"])


# --- Exports ---------------------------------------------------------------------------------------------------------


def test_an_export_hands_every_record_over_in_pages(writable: Any) -> None:
    """Issue 5: Bulk API 2.0 jobs with progress, handed over in pages; the last page deletes the job."""
    writable.service.data.bulk.polls = 3

    found = pages(writable, "invoices_export", fields=["Id", "Amount__c", "IsDeleted", "Due__c"], limit=15)

    rows = [record for page in found for record in page["records"]]
    expected = {one["Id"]: one for one in records_of(writable, INVOICE)}
    assert {row["Id"] for row in rows} == expected.keys()
    assert all(row["Amount__c"] == expected[row["Id"]]["Amount__c"] and row["IsDeleted"] is False for row in rows)
    assert all(page["total"] == len(rows) and page["state"] == "complete" for page in found)
    assert writable.service.data.bulk.jobs == {}


def test_an_export_tells_how_far_it_is(writable: Any) -> None:
    """Progress for each time that the job is asked for."""
    writable.service.data.bulk.polls = 3
    total = len(records_of(writable, INVOICE))

    writable.call("invoices_export", fields=["Id"], limit=2000)

    assert [done for done, _ in writable.progress] == [total // 3, total * 2 // 3, total]
    assert writable.progress[-1] == (total, total)


def test_an_export_that_takes_longer_than_a_call_goes_on(writable: Any) -> None:
    """The cursor leads back to the job."""
    settings = {"export_seconds": 0.1}
    writable.document = writable.document.model_copy(update={"settings": settings})
    writable.service.data.bulk.polls = 1000

    first = writable.call("accounts_export", fields=["Id"])
    writable.service.data.bulk.polls = 1
    second = writable.call("accounts_export", fields=["Id"], limit=2000, cursor=first["cursor"])

    assert (first["state"], first["records"], first["more"]) == ("in_progress", [], True)
    assert (second["state"], second["more"]) == ("complete", False)
    assert len(second["records"]) == len(records_of(writable, ACCOUNT))


def test_an_export_is_capped_and_within_its_scope(writable: Any) -> None:
    """`most`, the administrator's cap, the rule's records, fields and filters."""
    assert writable.call("accounts_export", fields=["Id"], most=5)["total"] == 5
    with pytest.raises(InvalidArguments):
        writable.call("accounts_export", fields=["Id"], most=10**6)

    writable.scope = Scope(frozenset({"Id", "OwnerId"}), 7, JANES.filters)
    found = writable.call("accounts_export")

    assert found["total"] == 7
    assert {record["OwnerId"] for record in found["records"]} == {user(writable, "jane@example.com")}
    with pytest.raises(AccessDenied):
        writable.call("accounts_export", fields=["Name"])


def test_an_exported_page_is_cut_at_the_budget(writable: Any) -> None:
    """Within a page of the service too, and nothing is lost."""
    writable.most_bytes = 4000

    found = pages(writable, "opportunities_export", fields=["Id", "Name"], limit=100)

    assert len({record["Id"] for page in found for record in page["records"]}) == len(records_of(writable, OPPORTUNITY))


def test_an_export_that_is_cut_off_is_aborted_at_the_service(writable: Any) -> None:
    """Issue 5: cancellation; the job does not go on for nobody."""
    bulk = writable.service.data.bulk
    bulk.polls, bulk.jobs = 1000, {}

    writable.cut_off("accounts_export", fields=["Id"])

    assert [job.state for job in bulk.jobs.values()] == ["Aborted"]


@pytest.mark.parametrize(
    "body", [{"state": "Failed", "numberRecordsProcessed": 0}, {"state": "InProgress"}, {"state": "Aborted"}, []]
)
def test_a_job_that_ends_badly_ends_the_call(writable: Any, body: Any) -> None:
    """In our codes; the service's own words stay away."""
    writable.service.faults.add(Answer(path=r"/jobs/query/\w+$", method="GET", status=200, body=body))

    with pytest.raises(Refusal) as refused:
        writable.call("accounts_export", fields=["Id"])

    assert refused.value.code in {"upstream_failed", "upstream_malformed"}


@pytest.mark.parametrize("page", ["", "Id\n", '"Name"\n"x"\n', '"Id","Name"\n"x","y"\n', '"Id"\n"x","y"\n'])
def test_a_page_of_something_else_is_not_handed_over(writable: Any, page: str) -> None:
    """Columns and rows are those that were asked for."""
    headers = {"Sforce-Locator": "null", "Sforce-NumberOfRecords": "1"}
    writable.service.faults.add(Answer(path="/results", status=200, body=page, headers=headers))

    if page == "Id\n":
        assert writable.call("accounts_export", fields=["Id"])["records"] == []
    else:
        with pytest.raises(Refusal) as refused:
            writable.call("accounts_export", fields=["Id"])
        assert refused.value.code == "upstream_malformed"
