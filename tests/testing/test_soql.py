from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simple_salesforce.format import format_soql

from broker.testing.salesforce.data import seeded_org
from broker.testing.salesforce.objects import ACCOUNT, CASE, CONTACT, OPPORTUNITY, RATINGS, find_object
from broker.testing.salesforce.org import Org
from broker.testing.salesforce.query import select

ORG = seeded_org()
FIRST = ORG.records(ACCOUNT)[0]

Matches = Callable[[dict[str, Any]], bool]

ACCOUNT_CONDITIONS: list[tuple[str, Matches]] = [
    ("Name = 'Acme'", lambda a: a["Name"] == "Acme"),
    ("Name = 'aCME'", lambda a: a["Name"] == "Acme"),
    ("Name = 'O\\'Brien & Sons'", lambda a: a["Name"] == "O'Brien & Sons"),
    ("Name = 'The \\\"Quoted\\\" Company'", lambda a: a["Name"] == 'The "Quoted" Company'),
    ("Name = 'Back\\\\slash Industries'", lambda a: a["Name"] == "Back\\slash Industries"),
    ("Name = '\\u0041cme'", lambda a: a["Name"] == "Acme"),
    ("Name = 'null'", lambda a: a["Name"] == "null"),
    ("Name != 'Acme'", lambda a: a["Name"] != "Acme"),
    ("Name <> 'Acme'", lambda a: a["Name"] != "Acme"),
    ("Name < 'B'", lambda a: a["Name"].casefold() < "b"),
    ("Name >= 'b'", lambda a: a["Name"].casefold() >= "b"),
    ("Name LIKE 'ac%'", lambda a: a["Name"].casefold().startswith("ac")),
    ("Name LIKE '100%'", lambda a: a["Name"].startswith("100")),
    ("Name LIKE '100\\%%'", lambda a: a["Name"].startswith("100%")),
    ("Name LIKE 'under_score%'", lambda a: a["Name"].startswith("under")),
    ("Name LIKE 'under\\_score%'", lambda a: a["Name"].startswith("under_")),
    ("Name LIKE '%\\\\%'", lambda a: "\\" in a["Name"]),
    ("Name LIKE 'acme'", lambda a: a["Name"] == "Acme"),
    ("(NOT Name LIKE 'a%')", lambda a: not a["Name"].casefold().startswith("a")),
    ("Industry = null", lambda a: a["Industry"] is None),
    ("Industry = ''", lambda a: a["Industry"] is None),
    ("Industry != null", lambda a: a["Industry"] is not None),
    ("Industry != 'Banking'", lambda a: a["Industry"] != "Banking"),
    ("Industry IN ('banking', 'Retail')", lambda a: a["Industry"] in {"Banking", "Retail"}),
    ("Industry IN (null)", lambda a: a["Industry"] is None),
    ("Industry NOT IN ('Banking', 'Retail')", lambda a: a["Industry"] not in {"Banking", "Retail"}),
    ("NOT Industry = 'Banking'", lambda a: a["Industry"] != "Banking"),
    ("AnnualRevenue > 5000000", lambda a: (a["AnnualRevenue"] or 0) > 5_000_000),
    ("AnnualRevenue <= 250000.00", lambda a: a["AnnualRevenue"] is not None and a["AnnualRevenue"] <= 250_000),
    ("AnnualRevenue = null", lambda a: a["AnnualRevenue"] is None),
    ("AnnualRevenue > -1", lambda a: a["AnnualRevenue"] is not None),
    ("NumberOfEmployees IN (3, 40)", lambda a: a["NumberOfEmployees"] in {3, 40}),
    ("IsDeleted = false", lambda _: True),
    ("IsDeleted = TRUE", lambda _: False),
    ("IsDeleted = null", lambda _: True),
    ("CreatedDate < 2023-06-01T00:00:00Z", lambda a: a["CreatedDate"] < "2023-06-01"),
    ("CreatedDate < 2023-06-01T02:00:00+02:00", lambda a: a["CreatedDate"] < "2023-06-01"),
    ("CreatedDate = 2023-01-02T08:15:00.000Z", lambda a: a["Id"] == FIRST["Id"]),
    (f"Id = '{FIRST['Id']}'", lambda a: a["Id"] == FIRST["Id"]),
    (f"Id = '{FIRST['Id'][:15]}'", lambda a: a["Id"] == FIRST["Id"]),
    (f"Id > '{FIRST['Id']}'", lambda a: a["Id"] > FIRST["Id"]),
    (f"Id IN ('{FIRST['Id']}')", lambda a: a["Id"] == FIRST["Id"]),
    ("BillingStreet LIKE '%\\r\\nFloor%'", lambda a: "\r\nFloor" in (a["BillingStreet"] or "")),
    (
        "Rating = 'Hot' AND Type = 'Prospect' AND Industry != null",
        lambda a: (a["Rating"], a["Type"]) == ("Hot", "Prospect") and a["Industry"] is not None,
    ),
    ("Rating = 'Hot' OR Rating = 'Warm' OR Rating = null", lambda a: a["Rating"] != "Cold"),
    (
        "(Rating = 'Hot' OR Rating = 'Warm') AND NumberOfEmployees > 1000",
        lambda a: a["Rating"] in {"Hot", "Warm"} and (a["NumberOfEmployees"] or 0) > 1000,
    ),
    (
        "Rating = 'Hot' OR (Rating = 'Warm' AND (NOT NumberOfEmployees > 1000))",
        lambda a: a["Rating"] == "Hot" or (a["Rating"] == "Warm" and not (a["NumberOfEmployees"] or 0) > 1000),
    ),
    ("((Rating = 'Hot'))", lambda a: a["Rating"] == "Hot"),
]

ORDERS: list[tuple[str, Callable[[dict[str, Any]], Any], bool]] = [
    ("Name", lambda a: a["Name"].casefold(), False),
    ("Name DESC", lambda a: a["Name"].casefold(), True),
    ("AnnualRevenue, Id", lambda a: (a["AnnualRevenue"] is not None, a["AnnualRevenue"] or 0, a["Id"]), False),
    ("AnnualRevenue NULLS LAST", lambda a: (a["AnnualRevenue"] is None, a["AnnualRevenue"] or 0), False),
    ("AnnualRevenue DESC", lambda a: (a["AnnualRevenue"] is not None, -(a["AnnualRevenue"] or 0)), False),
    ("AnnualRevenue DESC NULLS LAST", lambda a: (a["AnnualRevenue"] is None, -(a["AnnualRevenue"] or 0)), False),
    ("CreatedDate DESC NULLS FIRST", lambda a: a["CreatedDate"], True),
    ("Rating ASC NULLS LAST, Name", lambda a: ([*RATINGS, None].index(a["Rating"]), a["Name"].casefold()), False),
]


def query_text(value: object) -> str | None:
    """Name a case by its query; a function in its name would differ from one worker to the next."""
    return value if isinstance(value, str) else None


def ids(*query: str) -> list[str]:
    """Join the parts of a query and answer it with the Ids it finds."""
    return [record["Id"] for record in select(" ".join(query), ORG).rows]


@pytest.mark.parametrize(("condition", "matches"), ACCOUNT_CONDITIONS, ids=query_text)
def test_a_condition_selects_exactly_the_records_it_describes(condition: str, matches: Matches) -> None:
    """Operators, escapes, nulls and parentheses mean what the SOQL Reference says."""
    expected = [record["Id"] for record in ORG.records(ACCOUNT) if matches(record)]

    assert ids("SELECT Id FROM Account WHERE", condition) == expected


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("SELECT Id FROM Opportunity WHERE CloseDate >= 2024-01-01", lambda o: o["CloseDate"] >= "2024-01-01"),
        ("SELECT Id FROM Opportunity WHERE Probability > 50", lambda o: o["Probability"] > 50),
        ("SELECT Id FROM Opportunity WHERE IsWon = true", lambda o: o["StageName"] == "Closed Won"),
        ("SELECT Id FROM Contact WHERE Birthdate = null", lambda c: c["Birthdate"] is None),
        ("SELECT Id FROM Contact WHERE AccountId = ''", lambda c: c["AccountId"] is None),
        ("SELECT Id FROM Contact WHERE Email LIKE '%+test@%'", lambda c: c["Email"] is not None),
        ("SELECT Id FROM Case WHERE Priority > 'High'", lambda c: c["Priority"] in {"Low", "Medium"}),
        ("SELECT Id FROM Case WHERE ClosedDate != null", lambda c: c["IsClosed"]),
        (format_soql("SELECT Id FROM Case WHERE AccountId = {}", FIRST["Id"]), lambda c: c["AccountId"] == FIRST["Id"]),
    ],
    ids=query_text,
)
def test_the_other_objects_are_queried_as_accounts_are(query: str, matches: Matches) -> None:
    """Dates, percentages, flags and lookups compare by their own kind."""
    sobject = find_object(query.split()[3])
    assert sobject is not None
    expected = [record["Id"] for record in ORG.records(sobject) if matches(record)]

    assert ids(query) == expected != []


@pytest.mark.parametrize(("order", "key", "reverse"), ORDERS, ids=query_text)
def test_records_come_in_the_order_asked_for(
    order: str, key: Callable[[dict[str, Any]], Any], *, reverse: bool
) -> None:
    """Direction, several keys and the place of nulls are kept; picklists follow their list of values."""
    expected = sorted(ORG.records(ACCOUNT), key=key, reverse=reverse)

    found = ids("SELECT Id FROM Account ORDER BY", order)

    assert found == [record["Id"] for record in expected]


def test_picklists_are_ordered_as_their_values_are_listed() -> None:
    """High, Medium, Low is no alphabetical order."""
    rows = select("SELECT Priority FROM Case ORDER BY Priority", ORG).rows

    assert list(dict.fromkeys(row["Priority"] for row in rows)) == ["High", "Medium", "Low"]


def test_limit_and_offset_cut_the_ordered_result() -> None:
    """A page by offset is a slice of the whole."""
    everything = ids("SELECT Id FROM Account ORDER BY Name, Id")

    page = select("SELECT Id FROM Account ORDER BY Name, Id LIMIT 10 OFFSET 25", ORG)

    assert [row["Id"] for row in page.rows] == everything[25:35]
    assert page.total == 10


def test_a_limit_of_nothing_finds_nothing() -> None:
    """LIMIT 0 is allowed and empty."""
    assert select("SELECT Id FROM Account LIMIT 0", ORG).total == 0


def test_count_answers_a_number_and_no_records() -> None:
    """COUNT() is how a client learns the size before it asks for the data."""
    selection = select("SELECT COUNT() FROM Account WHERE Rating = 'Hot'", ORG)

    assert selection.rows == ()
    assert selection.total == len(ids("SELECT Id FROM Account WHERE Rating = 'Hot'"))


def test_keywords_and_names_are_read_without_case() -> None:
    """Names come back as the schema writes them, however they were asked for."""
    selection = select("select id, NAME from ACCOUNT where rating = 'hot' order by name limit 5", ORG)

    assert [column.text for column in selection.columns] == ["Id", "Name"]
    assert selection.total == 5


def test_datetimes_are_compared_as_instants() -> None:
    """An offset moves the literal, not the record."""
    moment = datetime(2023, 3, 1, 12, tzinfo=UTC)

    earlier = ids("SELECT Id FROM Account WHERE CreatedDate < 2023-03-01T04:00:00-08:00")

    assert earlier == [
        record["Id"] for record in ORG.records(ACCOUNT) if datetime.fromisoformat(record["CreatedDate"]) < moment
    ]


def org_of(names: list[str]) -> Org:
    """Make an org whose contacts have these departments."""
    org = Org()
    for name in names:
        org.create(CONTACT, {"LastName": "x", "Department": name})
    return org


TEXTS = st.text(max_size=20) | st.text(alphabet="aA'\"\\%_\n\t\r bnu0", max_size=8)


@settings(deadline=None)
@given(names=st.lists(TEXTS, min_size=1, max_size=6), value=TEXTS)
def test_an_escaped_value_matches_exactly_the_records_that_have_it(names: list[str], value: str) -> None:
    """No text, escaped as simple-salesforce does it, reads as anything but itself."""
    org = org_of([*names, value])

    found = {row["Id"] for row in select(format_soql("SELECT Id FROM Contact WHERE Department = {}", value), org).rows}

    assert found == {
        record["Id"] for record in org.records(CONTACT) if (record["Department"] or "").casefold() == value.casefold()
    }


@settings(deadline=None)
@given(names=st.lists(TEXTS, min_size=1, max_size=6), start=TEXTS)
def test_an_escaped_like_pattern_has_no_wildcards_of_its_own(names: list[str], start: str) -> None:
    """`{:like}` of simple-salesforce makes a prefix search out of any text."""
    org = org_of([*names, start, f"{start} and more"])

    query = format_soql("SELECT Id FROM Contact WHERE Department LIKE '{:like}%'", start)
    found = {row["Id"] for row in select(query, org).rows}

    assert found == {
        record["Id"]
        for record in org.records(CONTACT)
        if (record["Department"] or "").casefold().startswith(start.casefold())
    }


@settings(deadline=None)
@given(values=st.lists(TEXTS, min_size=1, max_size=5))
def test_an_escaped_list_matches_each_of_its_values(values: list[str]) -> None:
    """IN with a formatted list is equality with any of them."""
    org = org_of(values)

    found = select(format_soql("SELECT Id FROM Contact WHERE Department IN {}", values), org)

    assert found.total == len(values)


def test_money_and_percentages_are_answered_as_decimals() -> None:
    """JSON keeps the kind of a number: 1250.5, not "1250.5"."""
    row = select("SELECT Amount, Probability FROM Opportunity WHERE Amount != null LIMIT 1", ORG).rows[0]

    assert isinstance(row["Amount"], float)
    assert isinstance(row["Probability"], float)


def test_every_object_is_found_by_its_name_only() -> None:
    """These objects, and no others."""
    assert [find_object(name) for name in ("account", "Case", "CONTACT", "Opportunity", "Lead")] == [
        ACCOUNT,
        CASE,
        CONTACT,
        OPPORTUNITY,
        None,
    ]
