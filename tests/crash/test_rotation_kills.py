"""A broker that is killed in the midst of a refresh whose provider rotates the token: at each point, by SIGKILL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from broker.audit import Statement, verify
from broker.testing.salesforce import SalesforceService
from tests.support.broker import BrokerProcess
from tests.support.clients import Wire
from tests.support.consenting import allow, brought_back
from tests.support.killing import REFRESH_POINTS
from tests.support.salesforce import StarterSet, write_starter_set

pytestmark = pytest.mark.slow

CALLBACK = "http://127.0.0.1:1717/callback"
SEARCH = {"fields": ["Name"], "limit": 1}
LOST = {"after-refresh-answer", "in-refresh-commit"}
"""Where the provider has rotated the token and the store does not know it: nothing can bring that back."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SalesforceService]:
    """Serve an org that rotates refresh tokens."""
    with SalesforceService(tmp_path / "org") as service:
        service.app.rotates_refresh_tokens = True
        service.app.callback_urls.add(CALLBACK)
        yield service


@pytest.fixture
def documents(service: SalesforceService, tmp_path: Path) -> StarterSet:
    """Write the starter set, with the place where people consent."""
    written = write_starter_set(tmp_path / "access", service)
    connector = written.directory / "connectors/salesforce.yaml"
    endpoint = f"    authorization_endpoint: {service.url}/services/oauth2/authorize\n"
    connector.write_text(connector.read_text().replace("  oauth:\n", f"  oauth:\n{endpoint}"))
    return written


def connect(broker: BrokerProcess, service: SalesforceService) -> None:
    """Have somebody consent for the organisation, and pin what there is."""
    client = {"connector": "salesforce", "client_id": service.consumer_key, "client_auth": "client_secret_post"}
    broker.operators.put("/v1/grants/client", client | {"client_secret": service.app.consumer_secret})
    wanted = {"connector": "salesforce", "redirect_uri": CALLBACK, "scopes": ["api", "refresh_token"]}
    begun = broker.operators.post("/v1/grants/connect", wanted)
    broker.operators.post(f"/v1/grants/connect/{begun['ticket']}", brought_back(allow(service, begun["url"])))


@pytest.mark.parametrize("point", REFRESH_POINTS)
def test_a_broker_killed_in_a_refresh_goes_on_or_says_what_it_needs(
    documents: StarterSet, service: SalesforceService, point: str
) -> None:
    """Issue 5, Show in the closing note: a rotation killed at each point; credentials.md B3.3 and B3.4."""
    with BrokerProcess(documents) as broker:
        connect(broker, service)
        broker.kill()
        broker.start("--kill-at", point)
        with pytest.raises(requests.RequestException):
            Wire(broker, broker.token()).call("salesforce_accounts_search", SEARCH)
        assert broker.process.wait(60) == -9
        before = service.token_requests

        broker.start()
        codes = [Wire(broker).call("salesforce_accounts_search", SEARCH).code for _ in range(3)]

        (grant,) = broker.operators.get("/v1/grants")
        if point in LOST:
            assert codes == ["reauthorization_needed"] * 3
            assert grant["status"] == "reauthorization_needed"
            ended = [record for record in broker.records() if record["kind"] == "grant_ended"]
            assert [record["reason"] for record in ended] == ["token endpoint: invalid_grant"]
        else:
            assert codes == [None] * 3
            assert grant["status"] == "active"
        assert service.token_requests == before + 1
        with broker.operators.export() as lines:
            stated = Statement.parse(next(lines))
            assert verify(list(lines), stated).holds
