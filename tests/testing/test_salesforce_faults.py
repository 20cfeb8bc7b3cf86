import gzip
from collections.abc import Callable
from typing import Any

import pytest
import requests
from simple_salesforce.exceptions import SalesforceError, SalesforceGeneralError, SalesforceMalformedRequest

from broker.testing.salesforce import (
    Answer,
    Delay,
    Drop,
    Echo,
    Flood,
    Gzip,
    Malformed,
    Redirect,
    SalesforceService,
)
from broker.testing.salesforce.objects import ACCOUNT

QUERY = "SELECT Id FROM Account LIMIT 1"

Connect = Callable[[SalesforceService], Any]  # simple-salesforce's own types do not allow its own calls


def errors_in(error: pytest.ExceptionInfo[SalesforceError]) -> Any:
    """Return the service's errors, which simple-salesforce parses and calls bytes."""
    return error.value.content


def test_a_fault_answers_as_often_as_it_was_told_and_no_more(service: SalesforceService, salesforce: Any) -> None:
    """After the last one the service is itself again."""
    service.faults.add(Answer(path="/query", times=2, status=503, body="down for maintenance"))

    for _ in range(2):
        with pytest.raises(SalesforceGeneralError):
            salesforce.query(QUERY)

    assert salesforce.query(QUERY)["totalSize"] == 1


def test_a_fault_leaves_other_paths_and_methods_alone(service: SalesforceService, salesforce: Any) -> None:
    """A fault for writing does not touch reading."""
    service.faults.add(Answer(path="/sobjects/Account", method="POST", status=500))

    salesforce.Account.describe()

    with pytest.raises(SalesforceGeneralError):
        salesforce.Account.create({"Name": "never stored"})


def test_an_answer_carries_the_headers_it_was_given(service: SalesforceService) -> None:
    """Retry-After and its like can be played."""
    service.faults.add(Answer(path="/services/data", status=429, headers={"Retry-After": "7"}))

    response = requests.get(f"{service.url}/services/data", verify=str(service.ca_file), timeout=60)

    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")


def test_a_token_request_can_fail_too(service: SalesforceService, connect: Connect) -> None:
    """Faults sit before every resource, the token endpoint included."""
    service.faults.add(Answer(path="/oauth2/token", status=503, body={"error": "unavailable"}))

    with pytest.raises(KeyError):
        connect(service)


def test_a_dropped_connection_has_no_answer(service: SalesforceService, salesforce: Any) -> None:
    """The client sees a connection that ended, not a status."""
    service.faults.add(Drop(path="/query"))

    with pytest.raises(requests.ConnectionError):
        salesforce.query(QUERY)


def test_a_malformed_answer_is_no_json(service: SalesforceService, salesforce: Any) -> None:
    """Status 200 does not mean that the body can be read."""
    service.faults.add(Malformed(path="/query"))

    with pytest.raises(requests.exceptions.JSONDecodeError):
        salesforce.query(QUERY)


def test_a_delayed_write_outlives_a_client_that_gave_up(own_service: SalesforceService, connect: Connect) -> None:
    """A timeout tells nothing about the outcome: the record is there all the same."""
    salesforce = connect(own_service)
    own_service.faults.add(Delay(path="/sobjects/Account", seconds=0.3))
    url = f"{own_service.url}/services/data/v59.0/sobjects/Account"
    patience = (10, 0.1)  # to connect, to read

    with pytest.raises(requests.exceptions.ReadTimeout):
        salesforce.session.post(url, json={"Name": "Late"}, headers=salesforce.headers, timeout=patience)
    own_service.faults.add(Delay(path="/query", seconds=0.3))  # waits longer than the write has left
    found = salesforce.query("SELECT Name FROM Account WHERE Name = 'Late'")

    assert found["totalSize"] == 1


def test_a_flood_of_a_size_ends_in_an_answer(service: SalesforceService, salesforce: Any) -> None:
    """A client without a limit reads all of it."""
    service.faults.add(Flood(path="/query", size=1_000_000))

    url = f"{service.url}/services/data/v59.0/query"
    response = salesforce.session.get(url, headers=salesforce.headers, timeout=60)

    assert len(response.content) == 1_000_002
    assert response.json() == {}


def test_an_endless_flood_lasts_as_long_as_its_client_listens(
    service: SalesforceService,
    salesforce: Any,
) -> None:
    """A client with a limit goes when it has had enough, and the service goes on."""
    service.faults.add(Flood(path="/query"))
    url = f"{service.url}/services/data/v59.0/query"

    with salesforce.session.get(url, headers=salesforce.headers, timeout=60, stream=True) as response:
        received = len(response.raw.read(5_000_000))

    assert received == 5_000_000
    assert salesforce.query(QUERY)["totalSize"] == 1


def test_a_redirect_points_where_it_was_told(service: SalesforceService, salesforce: Any) -> None:
    """A client that follows it takes its headers to a stranger."""
    service.faults.add(Redirect(path="/query", location="https://attacker.example/collect"))
    url = f"{service.url}/services/data/v59.0/query"

    response = salesforce.session.get(url, headers=salesforce.headers, timeout=60, allow_redirects=False)

    assert (response.status_code, response.headers["Location"]) == (302, "https://attacker.example/collect")


@pytest.mark.parametrize("path", ["/query", "/sobjects/Account/001D000000IqhSLIAZ"])
def test_an_echo_puts_the_token_where_data_belongs(
    service: SalesforceService,
    salesforce: Any,
    path: str,
) -> None:
    """It looks like a record and like a page, so that a connector lets it through if nothing else looks."""
    service.faults.add(Echo(path=path))
    url = f"{service.url}/services/data/v59.0{path}"

    response = salesforce.session.get(url, headers=salesforce.headers, timeout=60)

    secret = f"Bearer {service.tokens_issued[-1]}"
    assert response.json()["Name"] == response.json()["records"][0]["Description"] == secret
    assert response.headers["X-Authorization"] == secret


def test_an_echo_of_an_error_puts_the_token_into_its_message(
    service: SalesforceService,
    salesforce: Any,
) -> None:
    """Exceptions quote the service's message, and so would logs."""
    service.faults.add(Echo(path="/query", status=400))

    with pytest.raises(SalesforceMalformedRequest) as error:
        salesforce.query(QUERY)

    assert service.tokens_issued[-1] in errors_in(error)[0]["message"]


def test_a_compressed_answer_says_the_same(service: SalesforceService, salesforce: Any) -> None:
    """Compression changes the bytes and nothing else."""
    plain = salesforce.query(QUERY)
    service.faults.add(Gzip(path="/query"))

    assert salesforce.query(QUERY) == plain


def test_a_compressed_echo_hides_the_token_from_a_search_of_the_bytes(
    service: SalesforceService,
    salesforce: Any,
) -> None:
    """Faults that pass a request on combine with the one after them."""
    service.faults.add(Gzip(path="/query"))
    service.faults.add(Echo(path="/query"))
    url = f"{service.url}/services/data/v59.0/query"

    with salesforce.session.get(url, headers=salesforce.headers, timeout=60, stream=True) as response:
        received = response.raw.read(decode_content=False)

    secret = service.tokens_issued[-1].encode()
    assert secret not in received
    assert secret in gzip.decompress(received)


def test_a_fault_that_passes_requests_on_takes_each_of_them_once(service: SalesforceService, salesforce: Any) -> None:
    """Twice means two requests, also for a fault that lets them go on."""
    service.faults.add(Gzip(path="/query", times=2))
    url = f"{service.url}/services/data/v59.0/query?q={QUERY}"

    encodings = [
        salesforce.session.get(url, headers=salesforce.headers, timeout=60).headers.get("Content-Encoding")
        for _ in range(3)
    ]

    assert encodings == ["gzip", "gzip", None]


def test_a_fault_does_not_hide_a_request_from_the_counters(service: SalesforceService, salesforce: Any) -> None:
    """What arrived is counted, answered or not."""
    before = service.api_requests
    service.faults.add(Drop(path="/sobjects"))

    with pytest.raises(requests.ConnectionError):
        salesforce.Account.get(service.org.records(ACCOUNT)[0]["Id"])

    assert service.api_requests == before + 1
