"""Relationship queries, semi-joins and date literals of the Salesforce-shaped service."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from broker.testing.salesforce.data import seeded_org
from broker.testing.salesforce.dates import DATE_LITERALS, span
from broker.testing.salesforce.objects import ACCOUNT, CONTACT, INVOICE, OPPORTUNITY
from broker.testing.salesforce.query import select

ORG = seeded_org()
SUNDAY = date(2024, 3, 31)
WEDNESDAY = date(2024, 2, 14)


def found(soql: str) -> set[str]:
    """Return the ids that a query finds."""
    return {row["Id"] for row in select(soql, ORG).rows}


def test_records_are_found_by_a_field_of_a_record_that_they_refer_to() -> None:
    """`Owner.Email` is how an organisation says whose record it is."""
    jane = next(user["Id"] for user in ORG._records["User"].values() if user["Email"] == "jane@example.com")

    rows = found("SELECT Id FROM Account WHERE Owner.Email = 'jane@example.com'")

    assert rows == {account["Id"] for account in ORG.records(ACCOUNT) if account["OwnerId"] == jane}


def test_a_reference_of_a_reference_is_followed() -> None:
    """Up to five levels."""
    rows = found("SELECT Id FROM Contact WHERE Account.Owner.Email = 'omar@example.com'")

    omar = next(user["Id"] for user in ORG._records["User"].values() if user["Email"] == "omar@example.com")
    owned = {account["Id"] for account in ORG.records(ACCOUNT) if account["OwnerId"] == omar}
    assert rows == {contact["Id"] for contact in ORG.records(CONTACT) if contact["AccountId"] in owned}


def test_a_custom_relationship_ends_with_r() -> None:
    """`Account__c` is the id, `Account__r` the record."""
    rows = found("SELECT Id FROM Invoice__c WHERE Account__r.Name = 'Acme'")

    acme = next(account["Id"] for account in ORG.records(ACCOUNT) if account["Name"] == "Acme")
    assert rows == {invoice["Id"] for invoice in ORG.records(INVOICE) if invoice["Account__c"] == acme}


def test_a_semi_join_finds_what_another_query_names() -> None:
    """And an anti-join the rest, those that refer to nothing included."""
    inner = "SELECT Id FROM Account WHERE Industry = 'Banking'"
    banks = found(inner)

    inside = found("SELECT Id FROM Contact WHERE AccountId IN (" + inner + ")")  # noqa: S608 - the fake's own
    outside = found("SELECT Id FROM Contact WHERE AccountId NOT IN (" + inner + ")")  # noqa: S608

    assert inside == {contact["Id"] for contact in ORG.records(CONTACT) if contact["AccountId"] in banks}
    assert inside | outside == {contact["Id"] for contact in ORG.records(CONTACT)}


@pytest.mark.parametrize(
    ("literal", "today", "first", "after"),
    [
        ("TODAY", WEDNESDAY, "2024-02-14", "2024-02-15"),
        ("YESTERDAY", WEDNESDAY, "2024-02-13", "2024-02-14"),
        ("TOMORROW", WEDNESDAY, "2024-02-15", "2024-02-16"),
        ("THIS_WEEK", SUNDAY, "2024-03-31", "2024-04-07"),
        ("LAST_WEEK", WEDNESDAY, "2024-02-04", "2024-02-11"),
        ("THIS_MONTH", WEDNESDAY, "2024-02-01", "2024-03-01"),
        ("NEXT_MONTH", SUNDAY, "2024-04-01", "2024-05-01"),
        ("LAST_QUARTER", WEDNESDAY, "2023-10-01", "2024-01-01"),
        ("LAST_YEAR", WEDNESDAY, "2023-01-01", "2024-01-01"),
        ("LAST_N_DAYS:7", WEDNESDAY, "2024-02-07", "2024-02-15"),
        ("NEXT_N_DAYS:7", WEDNESDAY, "2024-02-15", "2024-02-22"),
        ("LAST_N_MONTHS:2", WEDNESDAY, "2023-12-01", "2024-02-01"),
        ("NEXT_N_WEEKS:1", WEDNESDAY, "2024-02-18", "2024-02-25"),
        ("last_90_days", WEDNESDAY, "2023-11-16", "2024-02-15"),
    ],
)
def test_a_date_literal_is_a_span_of_days(literal: str, today: date, first: str, after: str) -> None:
    """SOQL and SOSL Reference, Date Formats and Date Literals."""
    assert span(literal, today) == (date.fromisoformat(first), date.fromisoformat(after))


@pytest.mark.parametrize("literal", sorted(DATE_LITERALS))
def test_every_day_is_before_in_or_after_a_span(literal: str) -> None:
    """The six comparisons agree with one another."""
    counts = {
        operator: len(found("SELECT Id FROM Opportunity WHERE CloseDate " + operator + literal))  # noqa: S608
        for operator in ("=", "!=", "<", "<=", ">", ">=")
    }

    every = len(ORG.records(OPPORTUNITY))
    assert counts["="] + counts["!="] == every
    assert counts["<"] + counts[">="] == counts[">"] + counts["<="] == every


def test_a_datetime_is_compared_with_a_span_by_its_day() -> None:
    """Records created just now are of today."""
    org = seeded_org()
    created = org.create(CONTACT, {"LastName": "Now"}, datetime.now(UTC))
    org.create(CONTACT, {"LastName": "Then"}, datetime.now(UTC) - timedelta(days=3))

    rows: list[dict[str, Any]] = list(select("SELECT Id FROM Contact WHERE CreatedDate = TODAY", org).rows)

    assert [row["Id"] for row in rows] == [created]
