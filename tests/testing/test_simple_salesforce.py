from collections.abc import Callable
from typing import Any

import pytest
import requests
from simple_salesforce.exceptions import (
    SalesforceError,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)
from simple_salesforce.format import format_soql

from broker.testing.salesforce import Answer, SalesforceService
from broker.testing.salesforce.objects import ACCOUNT

Connect = Callable[[SalesforceService], Any]  # simple-salesforce's own types do not allow its own calls


def errors_in(error: pytest.ExceptionInfo[SalesforceError]) -> Any:
    """Return the service's errors, which simple-salesforce parses and calls bytes."""
    return error.value.content


def test_a_record_is_got_by_its_full_id(service: SalesforceService, salesforce: Any) -> None:
    """All fields come, and `attributes` that say what and where it is."""
    stored = service.org.records(ACCOUNT)[0]

    record = salesforce.Account.get(stored["Id"])

    assert dict(record.pop("attributes")) == {
        "type": "Account",
        "url": f"/services/data/v59.0/sobjects/Account/{stored['Id']}",
    }
    assert dict(record) == stored


def test_a_record_is_got_by_its_short_id(service: SalesforceService, salesforce: Any) -> None:
    """Fifteen characters name a record as well as eighteen."""
    stored = service.org.records(ACCOUNT)[5]

    record = salesforce.Account.get(stored["Id"][:15])

    assert record["Id"] == stored["Id"]


def test_only_the_fields_asked_for_come_with_the_id(service: SalesforceService, salesforce: Any) -> None:
    """`?fields=` narrows the answer at the source."""
    identifier = service.org.records(ACCOUNT)[0]["Id"]

    record = salesforce.Account.get(identifier, params={"fields": "Name,Industry"})

    assert record.keys() == {"attributes", "Name", "Industry", "Id"}


@pytest.mark.parametrize("key", ["foo", "001XXXXXXXXXXXXXXX", "001D000000IqhSLIAZ"])
def test_a_record_that_is_not_there_is_not_found(salesforce: Any, key: str) -> None:
    """No Id, an Id with a wrong suffix, an Id of nobody: all are 404, as in an org."""
    with pytest.raises(SalesforceResourceNotFound) as error:
        salesforce.Account.get(key)

    assert errors_in(error)[0]["errorCode"] == "NOT_FOUND"


def test_a_record_is_not_found_under_another_object(service: SalesforceService, salesforce: Any) -> None:
    """An account's Id opens no contact."""
    with pytest.raises(SalesforceResourceNotFound):
        salesforce.Contact.get(service.org.records(ACCOUNT)[0]["Id"])


def test_an_unknown_object_is_not_found(salesforce: Any) -> None:
    """An object type that the org does not have is a missing resource."""
    with pytest.raises(SalesforceResourceNotFound):
        salesforce.Nope__c.describe()


def test_an_unknown_field_asked_for_is_a_malformed_request(service: SalesforceService, salesforce: Any) -> None:
    """A typing error in `?fields=` is named."""
    with pytest.raises(SalesforceMalformedRequest) as error:
        salesforce.Account.get(service.org.records(ACCOUNT)[0]["Id"], params={"fields": "Nope"})

    assert errors_in(error)[0]["errorCode"] == "INVALID_FIELD"


def test_the_org_describes_its_objects(salesforce: Any) -> None:
    """The global describe lists the objects with their key prefixes."""
    described = salesforce.describe()

    assert described is not None
    assert {entry["name"]: entry["keyPrefix"] for entry in described["sobjects"]} == {
        "Account": "001",
        "Case": "500",
        "Contact": "003",
        "Invoice__c": "a00",
        "Opportunity": "006",
        "User": "005",
    }


def test_an_object_describes_its_fields(salesforce: Any) -> None:
    """The describe answer arrives whole."""
    described = salesforce.Opportunity.describe()

    stage = next(field for field in described["fields"] if field["name"] == "StageName")
    assert (stage["type"], stage["nillable"], len(stage["picklistValues"])) == ("picklist", False, 10)


def test_an_object_gives_its_basic_information(salesforce: Any) -> None:
    """`metadata()` reads objectDescribe."""
    assert salesforce.Case.metadata()["objectDescribe"]["keyPrefix"] == "500"


def test_a_query_answers_a_page_of_records(salesforce: Any) -> None:
    """A result that fits one page is done at once."""
    page = salesforce.query("SELECT Id, Name FROM Account WHERE Name LIKE 'acme%' ORDER BY Name")

    assert (page["totalSize"], page["done"], "nextRecordsUrl" in page) == (2, True, False)
    assert [record["Name"] for record in page["records"]] == ["Acme", "ACME Holding"]


def test_a_formatted_value_finds_its_record(salesforce: Any) -> None:
    """Quotes and backslashes survive the client's escaping, the URL and the parser."""
    name = "C:\\new\\table\\users"

    page = salesforce.query(format_soql("SELECT Name FROM Account WHERE Name = {}", name))

    assert [record["Name"] for record in page["records"]] == [name]


def test_a_long_result_is_followed_over_its_pages(service: SalesforceService, salesforce: Any) -> None:
    """`query_all` walks every page, each record once."""
    before = service.api_requests

    result = salesforce.query_all("SELECT Id FROM Contact")

    assert result["totalSize"] == len({record["Id"] for record in result["records"]}) == 200
    assert service.api_requests - before == 4  # 60, 60, 60, 20


@pytest.mark.parametrize("by_url", [True, False])
def test_the_next_page_is_got_by_its_locator(salesforce: Any, *, by_url: bool) -> None:
    """`nextRecordsUrl` and the bare locator lead to the same page."""
    first = salesforce.query("SELECT Id FROM Contact ORDER BY Id")
    url = first["nextRecordsUrl"]

    second = salesforce.query_more(url if by_url else url.rsplit("/", 1)[1], identifier_is_url=by_url)

    assert first["records"][-1]["Id"] < second["records"][0]["Id"]
    assert (len(second["records"]), second["totalSize"], second["done"]) == (60, 200, False)


def test_a_locator_of_nothing_is_refused(salesforce: Any) -> None:
    """A cursor that was closed, or never opened, has its own error code."""
    with pytest.raises(SalesforceMalformedRequest) as error:
        salesforce.query_more("01g000000000001-60")

    assert errors_in(error)[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


def test_a_client_may_ask_for_larger_pages(salesforce: Any) -> None:
    """`Sforce-Query-Options` goes before the default."""
    page = salesforce.query("SELECT Id FROM Contact", headers={"Sforce-Query-Options": "batchSize=1000"})

    assert (len(page["records"]), page["done"]) == (200, True)


def test_a_count_has_a_size_and_no_records(salesforce: Any) -> None:
    """COUNT() answers in totalSize."""
    page = salesforce.query("SELECT COUNT() FROM Case")

    assert (page["totalSize"], page["records"]) == (130, [])


def test_a_refused_query_is_a_malformed_request(salesforce: Any) -> None:
    """HTTP 400 with the code of the refusal."""
    with pytest.raises(SalesforceMalformedRequest) as error:
        salesforce.query("SELECT Nope FROM Account")

    assert errors_in(error)[0]["errorCode"] == "INVALID_FIELD"


def test_every_data_answer_tells_the_api_usage(salesforce: Any) -> None:
    """simple-salesforce reads `Sforce-Limit-Info`; one more call is one more used."""
    salesforce.limits()
    before = salesforce.api_usage["api-usage"]

    limits = salesforce.limits()

    after = salesforce.api_usage["api-usage"]
    assert (after.used, after.total) == (before.used + 1, 15_000)
    assert limits["DailyApiRequests"]["Remaining"] == 15_000 - after.used


def test_an_expired_session_is_told_as_salesforce_tells_it(own_service: SalesforceService, connect: Connect) -> None:
    """The body is the one that clients renew on."""
    salesforce = connect(own_service)
    own_service.expire_tokens()

    with pytest.raises(SalesforceExpiredSession) as error:
        salesforce.query("SELECT Id FROM Account")

    assert errors_in(error) == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


def test_a_new_grant_works_after_all_were_revoked(own_service: SalesforceService, connect: Connect) -> None:
    """Revoking ends the sessions, not the app."""
    revoked = connect(own_service)
    own_service.revoke_tokens()

    renewed = connect(own_service)

    with pytest.raises(SalesforceExpiredSession):
        revoked.limits()
    assert renewed.limits()


@pytest.mark.parametrize("resource", ["", "/limits", "/query?q=SELECT+Id+FROM+Account", "/sobjects/Account", "/nope"])
def test_no_data_is_given_without_a_session(service: SalesforceService, resource: str) -> None:
    """Every data resource, existing or not, asks for the token first."""
    url = f"{service.url}/services/data/v59.0{resource}"

    response = requests.get(url, verify=str(service.ca_file), timeout=60)

    assert response.status_code == 401
    assert response.json()[0]["errorCode"] == "INVALID_SESSION_ID"


def test_the_versions_are_listed_without_a_session(service: SalesforceService) -> None:
    """A client finds the newest version before it logs in."""
    response = requests.get(f"{service.url}/services/data/", verify=str(service.ca_file), timeout=60)

    assert {"label": "Winter '24", "url": "/services/data/v59.0", "version": "59.0"} in response.json()


def test_a_version_that_is_not_offered_is_not_found(salesforce: Any) -> None:
    """A client that is ahead of the org is told so."""
    salesforce.base_url = salesforce.base_url.replace("v59.0", "v99.0")

    with pytest.raises(SalesforceResourceNotFound):
        salesforce.query("SELECT Id FROM Account")


def test_an_exhausted_allowance_is_a_refused_request(service: SalesforceService, salesforce: Any) -> None:
    """REQUEST_LIMIT_EXCEEDED is HTTP 403 and no reason to renew a session."""
    message = "TotalRequests Limit exceeded."
    body = [{"message": message, "errorCode": "REQUEST_LIMIT_EXCEEDED"}]
    service.faults.add(Answer(path="/query", status=403, body=body))

    with pytest.raises(SalesforceRefusedRequest) as error:
        salesforce.query("SELECT Id FROM Account")

    assert errors_in(error) == body
