import json
from collections.abc import Callable
from typing import Any

import pytest
from simple_salesforce.exceptions import (
    SalesforceError,
    SalesforceGeneralError,
    SalesforceMalformedRequest,
    SalesforceResourceNotFound,
)

from broker.testing.salesforce import SalesforceService
from broker.testing.salesforce.objects import ACCOUNT, CASE, OBJECTS, OPPORTUNITY

Connect = Callable[[SalesforceService], Any]  # simple-salesforce's own types do not allow its own calls


def errors_in(error: pytest.ExceptionInfo[SalesforceError]) -> Any:
    """Return the service's errors, which simple-salesforce parses and calls bytes."""
    return error.value.content


@pytest.fixture
def writer(own_service: SalesforceService, connect: Connect) -> Any:
    """Connect simple-salesforce to an org of the test's own."""
    return connect(own_service)


def content(service: SalesforceService) -> str:
    """Write the whole org down."""
    return json.dumps({sobject.name: service.org.records(sobject) for sobject in OBJECTS})


def test_a_created_record_is_found_as_it_was_given(own_service: SalesforceService, writer: Any) -> None:
    """Create answers the Id; what was not given has its default."""
    created = writer.Case.create({"Subject": "Pump leaks", "AccountId": own_service.org.records(ACCOUNT)[0]["Id"][:15]})

    record = own_service.org.find(CASE, created["id"])
    assert (created["success"], created["errors"]) == (True, [])
    assert (record["Subject"], record["Status"], record["Priority"]) == ("Pump leaks", "New", "Medium")
    assert record["AccountId"] == own_service.org.records(ACCOUNT)[0]["Id"]
    assert record["CaseNumber"] == "00001131"


def test_an_update_changes_the_named_fields_and_the_time(own_service: SalesforceService, writer: Any) -> None:
    """204, and nothing but what was asked for and the modification stamps."""
    before = dict(own_service.org.records(ACCOUNT)[0])

    status = writer.Account.update(before["Id"], {"Industry": "Energy", "Phone": None})

    after = own_service.org.find(ACCOUNT, before["Id"])
    assert status == 204
    assert {name for name in after if after[name] != before[name]} == {
        "Industry",
        "Phone",
        "LastModifiedDate",
        "SystemModstamp",
    }


def test_a_new_stage_moves_the_fields_that_follow_it(own_service: SalesforceService, writer: Any) -> None:
    """Probability, IsClosed and IsWon come from the stage, as in an org."""
    identifier = own_service.org.records(OPPORTUNITY)[0]["Id"]

    writer.Opportunity.update(identifier, {"StageName": "Closed Won"})

    record = own_service.org.find(OPPORTUNITY, identifier)
    assert (record["Probability"], record["IsClosed"], record["IsWon"]) == (100.0, True, True)


def test_a_deleted_record_is_gone(own_service: SalesforceService, writer: Any) -> None:
    """204, then 404, for get and for a second delete."""
    identifier = own_service.org.records(ACCOUNT)[0]["Id"]

    status = writer.Account.delete(identifier)

    assert status == 204
    for again in (writer.Account.get, writer.Account.delete):
        with pytest.raises(SalesforceResourceNotFound):
            again(identifier)


@pytest.mark.parametrize(
    ("values", "code", "fields"),
    [
        ({}, "REQUIRED_FIELD_MISSING", ["Name"]),
        ({"Name": ""}, "REQUIRED_FIELD_MISSING", ["Name"]),
        ({"Name": "x", "Nope": 1}, "INVALID_FIELD", None),
        ({"Name": "x", "Id": "001D000000IqhSLIAZ"}, "INVALID_FIELD", None),
        ({"Name": "x", "CreatedDate": "2024-01-01"}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["CreatedDate"]),
        ({"Name": "x" * 256}, "STRING_TOO_LONG", ["Name"]),
        ({"Name": "x", "ParentId": "foo"}, "MALFORMED_ID", ["ParentId"]),
        ({"Name": "x", "AnnualRevenue": "lots"}, "JSON_PARSER_ERROR", None),
        ({"Name": "x", "NumberOfEmployees": 1.5}, "JSON_PARSER_ERROR", None),
        ({"Name": ["x"]}, "JSON_PARSER_ERROR", None),
        ({"Name": True}, "JSON_PARSER_ERROR", None),
    ],
    ids=str,
)
def test_a_bad_record_is_refused_whole(
    service: SalesforceService,
    salesforce: Any,
    values: dict[str, Any],
    code: str,
    fields: list[str] | None,
) -> None:
    """The refusal names the code and, where Salesforce does, the fields; the org stays as it was."""
    before = content(service)

    with pytest.raises(SalesforceMalformedRequest) as error:
        salesforce.Account.create(values)

    (refusal,) = errors_in(error)
    assert (refusal["errorCode"], refusal.get("fields")) == (code, fields)
    assert content(service) == before


def test_a_bad_date_is_refused(salesforce: Any) -> None:
    """A day that no calendar has cannot be stored."""
    values = {"Name": "x", "StageName": "Prospecting", "CloseDate": "2024-02-30"}

    with pytest.raises(SalesforceMalformedRequest) as error:
        salesforce.Opportunity.create(values)

    assert errors_in(error)[0]["errorCode"] == "JSON_PARSER_ERROR"


def test_a_refused_update_changes_nothing(service: SalesforceService, salesforce: Any) -> None:
    """One bad field keeps the good ones out as well."""
    before = content(service)

    with pytest.raises(SalesforceMalformedRequest):
        salesforce.Account.update(service.org.records(ACCOUNT)[0]["Id"], {"Phone": "1", "Name": None})

    assert content(service) == before


def test_every_attempt_to_write_is_counted(own_service: SalesforceService, writer: Any) -> None:
    """`writes` counts what arrived, done or refused; reading never counts."""
    identifier = own_service.org.records(ACCOUNT)[0]["Id"]

    writer.Account.get(identifier)
    writer.Account.update(identifier, {"Phone": "1"})
    with pytest.raises(SalesforceMalformedRequest):
        writer.Account.create({})

    assert own_service.writes == 2


def test_a_method_that_a_resource_lacks_is_named(service: SalesforceService, salesforce: Any) -> None:
    """405, with the methods that it has."""
    url = f"{service.url}/services/data/v59.0/sobjects/Account"

    with pytest.raises(SalesforceGeneralError) as error:
        salesforce._call_salesforce("PUT", url)

    assert error.value.status == 405
    assert errors_in(error) == [
        {"message": "HTTP Method 'PUT' not allowed. Allowed are GET,HEAD,POST", "errorCode": "METHOD_NOT_ALLOWED"},
    ]
