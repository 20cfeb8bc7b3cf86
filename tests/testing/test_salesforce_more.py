"""Upserts, conditions, composites, searches, related records, bulk jobs and limits: simple-salesforce as it is."""

from collections.abc import Callable
from typing import Any

import pytest
import requests
from simple_salesforce.exceptions import (
    SalesforceError,
    SalesforceGeneralError,
    SalesforceMalformedRequest,
    SalesforceRefusedRequest,
)

from broker.testing.salesforce import SalesforceService
from broker.testing.salesforce.objects import ACCOUNT, CONTACT, INVOICE

Connect = Callable[[SalesforceService], Any]  # simple-salesforce's own types do not allow its own calls
INVOICE_VALUES = {"Name": "INV-1", "Status__c": "Draft", "Amount__c": 5}


def code_of(error: pytest.ExceptionInfo[SalesforceError]) -> Any:
    """Return the service's code, which simple-salesforce parses and calls bytes."""
    content: Any = error.value.content
    return content[0]["errorCode"]


@pytest.fixture
def writer(own_service: SalesforceService, connect: Connect) -> Any:
    """Connect simple-salesforce to an org of the test's own."""
    return connect(own_service)


# --- Upsert ----------------------------------------------------------------------------------------------------------


def test_an_upsert_creates_once_and_updates_after(own_service: SalesforceService, writer: Any) -> None:
    """By an external Id: 201, then 200."""
    first = writer.Invoice__c.upsert("Number__c/NEW-1", INVOICE_VALUES)
    second = writer.Invoice__c.upsert("Number__c/new-1", {"Amount__c": 7})

    assert (first, second) == (201, 200)
    record = own_service.org.by_external_id(INVOICE, "Number__c", "NEW-1")
    assert record is not None
    assert (record["Amount__c"], record["Status__c"]) == (7.0, "Draft")


def test_a_record_is_got_by_its_external_id(writer: Any) -> None:
    """A value may hold what a path does not."""
    writer.Invoice__c.upsert("Number__c/A%20B%2FC", INVOICE_VALUES)

    assert writer.Invoice__c.get("Number__c/A%20B%2FC")["Number__c"] == "A B/C"


@pytest.mark.parametrize("field", ["Name", "Nope__c"])
def test_only_an_external_id_is_one(writer: Any, field: str) -> None:
    """Any other field is no key."""
    with pytest.raises(SalesforceError) as error:
        writer.Invoice__c.upsert(f"{field}/x", INVOICE_VALUES)

    assert code_of(error) == "NOT_FOUND"


def test_an_external_id_belongs_to_one_record(writer: Any) -> None:
    """Unique: creating a second is refused with the first one's id."""
    writer.Invoice__c.create(INVOICE_VALUES | {"Number__c": "ONE"})

    with pytest.raises(SalesforceMalformedRequest) as error:
        writer.Invoice__c.create(INVOICE_VALUES | {"Number__c": "one"})

    assert code_of(error) == "DUPLICATE_VALUE"


def test_a_restricted_picklist_takes_its_values_only(writer: Any) -> None:
    """Other picklists take any text, as in the service."""
    with pytest.raises(SalesforceMalformedRequest) as error:
        writer.Invoice__c.create(INVOICE_VALUES | {"Status__c": "Lost"})

    assert code_of(error) == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"


# --- Conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", ["update", "delete"])
def test_a_write_that_depends_on_an_old_state_is_refused(
    own_service: SalesforceService, writer: Any, write: str
) -> None:
    """Conditional Request Headers: 412, and nothing has changed."""
    record = dict(own_service.org.records(ACCOUNT)[0])
    headers = {"If-Unmodified-Since": "Sun, 01 Jan 2023 00:00:00 GMT"}
    arguments = [{"Phone": "1"}] if write == "update" else []

    with pytest.raises(SalesforceGeneralError) as error:
        getattr(writer.Account, write)(record["Id"], *arguments, headers=headers)

    assert error.value.status == 412
    assert own_service.org.find(ACCOUNT, record["Id"]) == record


def test_a_write_that_depends_on_the_present_state_is_made(own_service: SalesforceService, writer: Any) -> None:
    """In whole seconds."""
    identifier = own_service.org.records(ACCOUNT)[0]["Id"]

    status = writer.Account.update(identifier, {"Phone": "1"}, headers={"If-Unmodified-Since": NEVER})

    assert status == 204


NEVER = "Fri, 31 Dec 9999 23:59:59 GMT"


# --- Composite -------------------------------------------------------------------------------------------------------


def subrequest(method: str, path: str, reference: str, body: Any = None) -> dict[str, Any]:
    """Write one subrequest."""
    made: dict[str, Any] = {
        "method": method,
        "url": f"/services/data/v59.0/sobjects/{path}",
        "referenceId": reference,
    }
    return made if body is None else made | {"body": body}


def test_a_composite_uses_what_an_earlier_write_answered(own_service: SalesforceService, writer: Any) -> None:
    """`@{acme.id}`."""
    answer = writer.restful(
        "composite",
        method="POST",
        json={
            "allOrNone": True,
            "compositeRequest": [
                subrequest("POST", "Account", "acme", {"Name": "New"}),
                subrequest("POST", "Contact", "ada", {"LastName": "Lovelace", "AccountId": "@{acme.id}"}),
            ],
        },
    )

    account, contact = (one["body"]["id"] for one in answer["compositeResponse"])
    assert own_service.org.find(CONTACT, contact)["AccountId"] == account


def test_all_or_none_is_none_where_one_fails(own_service: SalesforceService, writer: Any) -> None:
    """What had succeeded is rolled back, and says so."""
    before = len(own_service.org.records(ACCOUNT))

    answer = writer.restful(
        "composite",
        method="POST",
        json={
            "allOrNone": True,
            "compositeRequest": [
                subrequest("POST", "Account", "good", {"Name": "New"}),
                subrequest("POST", "Account", "bad", {"Nope": "New"}),
            ],
        },
    )

    codes = [one["body"][0]["errorCode"] for one in answer["compositeResponse"]]
    assert codes == ["PROCESSING_HALTED", "INVALID_FIELD"]
    assert len(own_service.org.records(ACCOUNT)) == before


def test_without_all_or_none_what_succeeds_stays(own_service: SalesforceService, writer: Any) -> None:
    """Each subrequest has its own status."""
    identifier = own_service.org.records(ACCOUNT)[0]["Id"]

    answer = writer.restful(
        "composite",
        method="POST",
        json={
            "compositeRequest": [
                subrequest("PATCH", f"Account/{identifier}", "one", {"Phone": "1"}),
                subrequest("DELETE", "Account/001000000000000AAA", "two"),
                subrequest("PATCH", "Invoice__c/Number__c/K-1", "three", INVOICE_VALUES),
            ]
        },
    )

    assert [one["httpStatusCode"] for one in answer["compositeResponse"]] == [204, 404, 201]
    assert own_service.org.find(ACCOUNT, identifier)["Phone"] == "1"


# --- Searches and related records ------------------------------------------------------------------------------------


def test_a_search_finds_words_across_objects(salesforce: Any) -> None:
    """SOSL: all words must occur, without case, in some text field."""
    answer = salesforce.search("FIND {o\\'brien} IN ALL FIELDS RETURNING Account(Id, Name), Contact(Id LIMIT 3)")

    kinds = [record["attributes"]["type"] for record in answer["searchRecords"]]
    assert kinds == ["Account", "Contact", "Contact", "Contact"]
    assert answer["searchRecords"][0]["Name"] == "O'Brien & Sons"


def test_a_search_is_narrowed_by_conditions(salesforce: Any) -> None:
    """RETURNING takes a WHERE, an ORDER BY and a LIMIT."""
    answer = salesforce.search(
        "FIND {acme*} RETURNING Account(Name WHERE Owner.Email != 'x' AND (Name != 'Acme (old)') ORDER BY Name DESC)"
    )

    assert [record["Name"] for record in answer["searchRecords"]] == ["ACME Holding", "Acme"]


@pytest.mark.parametrize("sosl", ["FIND {a} RETURNING Account", "FIND acme RETURNING Account", "FIND {acme}"])
def test_what_is_no_search_is_refused(salesforce: Any, sosl: str) -> None:
    """One character is too short for the index."""
    with pytest.raises(SalesforceMalformedRequest) as error:
        salesforce.search(sosl)

    assert code_of(error) == "MALFORMED_SEARCH"


def test_a_query_brings_related_records_nested(salesforce: Any) -> None:
    """Up as an object, down as a page of its own, and null where there is nothing."""
    page = salesforce.query(
        "SELECT Name, Owner.Email, (SELECT LastName FROM Contacts ORDER BY LastName LIMIT 2) FROM Account "
        "WHERE Name = 'null'"
    )

    (record,) = page["records"]
    assert record["Owner"]["Email"].endswith("@example.com")
    assert record["Owner"]["attributes"]["type"] == "User"
    names = [contact["LastName"] for contact in record["Contacts"]["records"]]
    assert names == sorted(names)
    assert len(names) == 2
    assert (
        salesforce.query("SELECT Account.Name FROM Contact WHERE AccountId = null LIMIT 1")["records"][0]["Account"]
        is None
    )


def test_an_object_describes_what_refers_to_it(salesforce: Any) -> None:
    """The names that subqueries use."""
    described = salesforce.Account.describe()

    names = {child["relationshipName"] for child in described["childRelationships"]}
    assert names == {"ChildAccounts", "Contacts", "Opportunities", "Cases", "Invoices__r"}


# --- Bulk ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # simple-salesforce waits between its questions
def test_a_bulk_query_answers_every_record_in_pages(own_service: SalesforceService, writer: Any) -> None:
    """Bulk API 2.0: the locator leads from page to page."""
    pages = list(writer.bulk2.Contact.query("SELECT Id, Account.Name FROM Contact", max_records=90, wait=0))

    lines = [line for page in pages for line in page.splitlines()[1:]]
    assert [len(page.splitlines()) - 1 for page in pages] == [90, 90, 20]
    assert {line.split(",")[0].strip('"') for line in lines} == {one["Id"] for one in own_service.org.records(CONTACT)}
    assert pages[0].splitlines()[0] == '"Id","Account.Name"'


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["insert", "upsert", "update", "delete"])
def test_a_bulk_write_is_made_and_tells_what_failed(
    own_service: SalesforceService, writer: Any, operation: str
) -> None:
    """Ingest jobs: uploaded, closed, asked for, and their results got."""
    existing = own_service.org.records(INVOICE)[0]
    rows = {
        "insert": [{"Name": "B-1", "Status__c": "Draft"}, {"Name": "B-2", "Status__c": "Lost"}],
        "upsert": [{"Number__c": "B", "Name": "B-1", "Status__c": "Draft"}, {"Number__c": "C", "Name": "B-2"}],
        "update": [{"Id": existing["Id"], "Name": "B-1"}, {"Id": "a00000000000000AAA", "Name": "x"}],
        "delete": [{"Id": existing["Id"]}, {"Id": "a00000000000000AAA"}],
    }
    more = {"external_id_field": "Number__c"} if operation == "upsert" else {}

    (result,) = getattr(writer.bulk2.Invoice__c, operation)(records=rows[operation], wait=0, **more)

    assert (result["numberRecordsProcessed"], result["numberRecordsFailed"]) == (2, 1)
    failed = writer.bulk2.Invoice__c.get_failed_records(result["job_id"])
    assert len(failed.splitlines()) == 2


def test_a_job_gets_on_until_it_is_aborted(own_service: SalesforceService, writer: Any) -> None:
    """Asked, it says how far it is; aborted, it stays so and can be deleted."""
    own_service.data.bulk.polls = 4
    client = writer.bulk2.Contact._client
    job = client.create_job("query", "SELECT Id FROM Contact")["id"]

    told = [client.get_job(job, is_query=True) for _ in range(2)]
    aborted = client.abort_job(job, is_query=True)

    assert [(one["state"], one["numberRecordsProcessed"]) for one in told] == [("InProgress", 50), ("InProgress", 100)]
    assert aborted["state"] == "Aborted"
    with pytest.raises(SalesforceMalformedRequest):
        client.get_query_results(job)
    writer.restful(f"jobs/query/{job}", method="DELETE")
    assert own_service.data.bulk.jobs == {}


def test_a_job_that_runs_is_not_deleted(writer: Any) -> None:
    """INVALIDJOBSTATE."""
    job = writer.bulk2.Contact._client.create_job("query", "SELECT Id FROM Contact")["id"]

    with pytest.raises(SalesforceMalformedRequest) as error:
        writer.restful(f"jobs/query/{job}", method="DELETE")

    assert code_of(error) == "INVALIDJOBSTATE"


# --- Limits ----------------------------------------------------------------------------------------------------------


def test_over_the_days_allowance_every_call_is_refused(own_service: SalesforceService, writer: Any) -> None:
    """HTTP 403 REQUEST_LIMIT_EXCEEDED, which is no reason to renew a session."""
    own_service.data.daily_calls = own_service.data.calls + 1
    writer.limits()

    with pytest.raises(SalesforceRefusedRequest) as error:
        writer.limits()

    assert code_of(error) == "REQUEST_LIMIT_EXCEEDED"


def test_the_switchboard_of_another_process_sets_the_app_up(own_service: SalesforceService) -> None:
    """A test that starts the service as a process has no object to change."""
    url, ca = f"{own_service.url}/__control__", str(own_service.ca_file)
    action = {"action": "set_up_app", "rotates_refresh_tokens": True, "callback_urls": ["http://localhost:9/"]}

    statuses = [
        requests.post(url, json=one, verify=ca, timeout=60).status_code
        for one in (action, {"action": "sign_in", "username": "jane@example.com"}, {"action": "set_up_app", "no": 1})
    ]

    assert statuses == [204, 204, 400]
    assert own_service.app.rotates_refresh_tokens
    assert own_service.app.callback_urls == {"http://localhost:9/"}
