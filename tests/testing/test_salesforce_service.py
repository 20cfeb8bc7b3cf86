import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from simple_salesforce.exceptions import SalesforceExpiredSession

from broker.testing.salesforce import Delay, SalesforceService

Connect = Callable[[SalesforceService], Any]  # simple-salesforce's own types do not allow its own calls


def control(url: str, ca_file: str, body: Any) -> requests.Response:
    """Post one action to a service's switchboard."""
    return requests.post(f"{url}/__control__", json=body, verify=ca_file, timeout=60)


def test_a_stopped_service_leaves_no_thread_and_no_port(tmp_path: Path) -> None:
    """Leaving the block is the end of it."""
    threads = threading.active_count()

    with SalesforceService(tmp_path) as service:
        requests.get(f"{service.url}/services/data", verify=str(service.ca_file), timeout=60)

    assert threading.active_count() == threads
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{service.url}/services/data", verify=str(service.ca_file), timeout=60)


def test_an_open_connection_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """A client that keeps its connection alive, as all do, is cut off."""
    with requests.Session() as session:
        with SalesforceService(tmp_path) as service:
            session.get(f"{service.url}/services/data", verify=str(service.ca_file), timeout=60)

        with pytest.raises(requests.ConnectionError):
            session.get(f"{service.url}/services/data", verify=str(service.ca_file), timeout=60)


def test_a_request_in_a_long_delay_does_not_hold_up_the_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The time to stop is bounded, whatever still waits."""
    threads = threading.active_count()

    with SalesforceService(tmp_path) as service:
        service.faults.add(Delay(path="/services/data", seconds=600))
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.get(f"{service.url}/services/data", verify=str(service.ca_file), timeout=(10, 0.2))

    assert threading.active_count() == threads
    assert caplog.text == ""


def test_a_port_that_is_taken_is_an_error(own_service: SalesforceService, tmp_path: Path) -> None:
    """Two services never share a port silently."""
    port = int(own_service.url.rpartition(":")[2])

    with pytest.raises(OSError, match="in use"), SalesforceService(tmp_path / "second", port=port):
        pass


def test_requests_are_listed_without_what_is_secret_in_them(own_service: SalesforceService, connect: Connect) -> None:
    """Method, path and query of the data resources; never a header, a body or a token."""
    salesforce = connect(own_service)

    salesforce.query("SELECT Id FROM Account WHERE Name = 'a+b'")

    token, query = own_service.requests
    assert (token.method, token.path, token.query) == ("POST", "/services/oauth2/token", "")
    assert (query.path, query.query) == ("/services/data/v59.0/query/", "q=SELECT Id FROM Account WHERE Name = 'a+b'")
    assert own_service.tokens_issued[0] not in str(own_service.requests)
    assert (own_service.token_requests, own_service.api_requests, own_service.writes) == (1, 1, 0)


def test_the_switchboard_shows_the_counters_and_is_not_counted(own_service: SalesforceService) -> None:
    """Watching does not change what is watched."""
    for _ in range(2):
        response = requests.get(f"{own_service.url}/__control__", verify=str(own_service.ca_file), timeout=60)

    assert response.json() == {"token_requests": 0, "api_requests": 0, "writes": 0, "requests": []}


@pytest.mark.parametrize("action", ["expire_tokens", "revoke_tokens"])
def test_the_switchboard_ends_sessions(own_service: SalesforceService, connect: Connect, action: str) -> None:
    """A test in another process can make a token die."""
    salesforce = connect(own_service)

    response = control(own_service.url, str(own_service.ca_file), {"action": action})

    assert response.status_code == 204
    with pytest.raises(SalesforceExpiredSession):
        salesforce.limits()


def test_the_switchboard_adds_and_clears_faults(own_service: SalesforceService) -> None:
    """A fault in JSON is the same fault."""
    ca_file = str(own_service.ca_file)
    versions = f"{own_service.url}/services/data"
    fault = {"kind": "answer", "path": "/services/data", "status": 500, "body": {"a": 1}, "times": 9}

    control(own_service.url, ca_file, {"action": "add_fault", "fault": fault})
    during = requests.get(versions, verify=ca_file, timeout=60)
    control(own_service.url, ca_file, {"action": "clear_faults"})
    after = requests.get(versions, verify=ca_file, timeout=60)

    assert (during.status_code, during.json(), after.status_code) == (500, {"a": 1}, 200)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "nope"},
        {"action": "add_fault", "fault": {"kind": "drop", "path": "/", "typo": 1}},
        {"action": "add_fault", "fault": {"kind": "drop", "path": "("}},
    ],
    ids=str,
)
def test_the_switchboard_refuses_what_it_does_not_know(service: SalesforceService, body: dict[str, Any]) -> None:
    """A misspelt fault fails loudly, instead of never happening."""
    assert control(service.url, str(service.ca_file), body).status_code == 400


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_a_process_it_tells_its_facts_and_stops_when_told(tmp_path: Path, number: signal.Signals) -> None:
    """One line of JSON when it answers, exit code 0 when it ends."""
    command = [sys.executable, "-m", "broker.testing.salesforce", "--directory", str(tmp_path), "--canary", "TWEET"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            counters = requests.get(f"{facts['url']}/__control__", verify=facts["ca_file"], timeout=60).json()
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # does nothing to a process that has ended

    assert facts.keys() == {
        *("url", "audience", "ca_file", "consumer_key", "consumer_secret", "username", "private_key_file")
    }
    assert Path(facts["private_key_file"]).is_file()
    assert counters["api_requests"] == 0
    assert (process.returncode, output, errors) == (0, "", "")
