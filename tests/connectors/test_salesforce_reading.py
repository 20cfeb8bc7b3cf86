"""Reading: every mapped object by id, by search and by description, as an agent asks for it."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.errors import InvalidArguments

Call = Callable[..., Any]
Everything = Callable[[str], list[dict[str, Any]]]

RESOURCES = ("accounts", "contacts", "opportunities", "cases")
SIZES = {"accounts": 120, "contacts": 200, "opportunities": 150, "cases": 130}


@pytest.fixture
def everything(call: Call) -> Everything:
    """Return every record of a resource."""
    return lambda resource: list(call(f"{resource}_search", limit=2000)["records"])


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_record_is_read_by_its_id(call: Call, everything: Everything, resource: str) -> None:
    """Issue 2, Salesforce: read per mapped object."""
    record = everything(resource)[7]

    assert call(f"{resource}_read", id=record["Id"]) == {"record": record}
    assert call(f"{resource}_read", id=record["Id"][:15]) == {"record": record}


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_record_is_read_with_the_fields_that_are_asked_for(call: Call, everything: Everything, resource: str) -> None:
    """Less is fetched, and less leaves."""
    record = everything(resource)[3]

    assert call(f"{resource}_read", id=record["Id"], fields=["CreatedDate"]) == {
        "record": {"CreatedDate": record["CreatedDate"]}
    }


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_record_of_an_object_is_found(everything: Everything, org: Any, resource: str) -> None:
    """Issue 2, Salesforce: paged; every record has every field that may leave."""
    found = everything(resource)

    assert len({record["Id"] for record in found}) == SIZES[resource]
    fields = {field["name"] for field in org.snapshot["objects"][org.document.resources[resource]]["fields"]}
    assert {frozenset(record) for record in found} == {frozenset(fields)}


@pytest.mark.parametrize("resource", RESOURCES)
def test_an_object_is_described_as_it_is_pinned(call: Call, org: Any, resource: str) -> None:
    """Issue 2, Salesforce: describe per mapped object, with picklists; here it is what was pinned."""
    pinned = org.snapshot["objects"][org.document.resources[resource]]

    assert call(f"{resource}_describe") == {"label": pinned["label"], "fields": pinned["fields"]}


# --- Limits and pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "count", "more", "progress"),
    [
        (1, 1, True, []),
        (59, 59, True, []),
        (60, 60, True, [(60, 61)]),
        (119, 119, True, [(60, 120)]),
        (120, 120, False, [(60, 120)]),
        (121, 120, False, [(60, 120)]),
        (2000, 120, False, [(60, 120)]),
    ],
)
def test_a_search_takes_as_many_pages_as_its_limit_needs(
    call: Call, org: Any, limit: int, count: int, more: Any, progress: list[tuple[int, int]]
) -> None:
    """Issue 2, Salesforce: paged under a cap, with progress for each page, and 'more' if the cap left any out."""
    found = call("accounts_search", limit=limit, fields=["Id"])

    assert (len(found["records"]), found["more"], org.progress) == (count, more, progress)


def test_a_limit_may_be_written_as_a_float(call: Call) -> None:
    """JSON Schema takes 10.0 for an integer, and some clients send it."""
    assert len(call("accounts_search", limit=10.0, fields=["Id"])["records"]) == 10


def test_without_a_limit_fifty_are_found(call: Call) -> None:
    """The tool's schema says so."""
    found = call("accounts_search", fields=["Id"])

    assert (len(found["records"]), found["more"]) == (50, True)


@pytest.mark.parametrize("limit", [-1, 2001, 10**30, 1.5, "10", None, True])
def test_a_limit_beyond_the_cap_is_refused(call: Call, limit: Any) -> None:
    """The cap is the tool's schema's."""
    with pytest.raises(InvalidArguments):
        call("accounts_search", limit=limit)


# --- Order ------------------------------------------------------------------------------------------------------------


def test_records_come_in_the_order_that_is_asked_for(call: Call, everything: Everything) -> None:
    """Nulls come last whatever the direction, since nobody who wants the largest wants what has none."""
    found = call(
        "accounts_search",
        order_by=[{"field": "AnnualRevenue", "descending": True}, {"field": "Name"}],
        fields=["Name", "AnnualRevenue"],
        limit=2000,
    )["records"]

    with_revenue = [record for record in everything("accounts") if record["AnnualRevenue"] is not None]
    expected = sorted(with_revenue, key=lambda record: (-record["AnnualRevenue"], record["Name"].casefold()))
    assert [record["Name"] for record in found[: len(expected)]] == [record["Name"] for record in expected]
    assert {record["AnnualRevenue"] for record in found[len(expected) :]} == {None}


def test_a_field_that_cannot_be_ordered_by_is_refused_before_the_call(call: Call) -> None:
    """The service would refuse it with words that an agent never sees."""
    with pytest.raises(InvalidArguments, match="Description cannot be ordered by"):
        call("accounts_search", order_by=[{"field": "Description"}])
