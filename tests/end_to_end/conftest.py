"""The starter set on the Salesforce-shaped service, served by a process of its own."""

from collections.abc import Iterator

import pytest

from broker.testing.salesforce import SalesforceService
from tests.support.broker import BrokerProcess
from tests.support.salesforce import grant, write_starter_set


@pytest.fixture(scope="session")
def salesforce(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SalesforceService]:
    """Serve the org, in small pages."""
    with SalesforceService(tmp_path_factory.mktemp("org"), page_size=60) as service:
        yield service


@pytest.fixture(scope="session")
def starter(salesforce: SalesforceService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Serve the starter set."""
    place = tmp_path_factory.mktemp("starter")
    written = write_starter_set(place / "access", salesforce)
    with BrokerProcess(written, "--spans", str(place / "spans.json")) as process:
        process.operators.post("/v1/grants", grant(salesforce))
        yield process
