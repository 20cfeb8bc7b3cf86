"""Attempts on the Salesforce connector: by arguments, by a service that answers more than it was asked, by pages."""

import asyncio
import ipaddress
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.catalog import catalog_tool
from broker.connector import ConnectorDocument, ToolCall
from broker.egress import Egress, Limits, Reach, Secret, Session
from broker.errors import InvalidArguments, Refusal
from broker.redact import release
from broker.testing.salesforce import SalesforceService
from broker.testing.salesforce.faults import Answer
from connectors.salesforce import CONNECTOR

Call = Callable[..., Any]

ROOT = Path(__file__).parents[2]
SNAPSHOT = json.loads((ROOT / "broker/starter/connectors/salesforce.snapshot.json").read_text())
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
DATA = "/services/data/v59.0"
ACCOUNT_ID = "001000000000000AAA"


class Bearer:
    """A credential that is good for nothing: these answers are all played."""

    async def header(self) -> Secret:
        """Return it."""
        return Secret("Bearer 00Dxx!CANARY")

    async def renew(self, spent: Secret) -> None:
        """Keep it."""


class Nothing:
    """Looks for no credential: what is withheld here, is withheld for another reason."""

    def hits(self, data: bytes) -> bool:  # noqa: ARG002 - the protocol's own signature
        """Find none."""
        return False


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SalesforceService]:
    """Serve an org that these tests make say anything."""
    with SalesforceService(tmp_path_factory.mktemp("salesforce")) as service:
        yield service


@pytest.fixture
def call(service: SalesforceService) -> Iterator[Call]:
    """Run a tool as the pipeline does: arguments checked, the result released through the tool's own schema."""
    document = ConnectorDocument.model_validate(
        {"type": "salesforce", "url": service.url, "resources": {"accounts": "Account"}, "snapshot": "pinned.json"}
    )
    tools = {tool.action: catalog_tool("salesforce", tool) for tool in CONNECTOR.tools(document, SNAPSHOT)}

    async def ask(action: str, arguments: dict[str, Any]) -> Any:
        egress = Egress()
        reach = Reach(frozenset({service.url.removeprefix("https://")}), LOOPBACK)
        client = egress.client(reach, Limits(total_seconds=5), service.ca_file.read_text())
        run = tools[action].tool.run
        assert run is not None
        try:
            session = Session(client, service.url, Bearer(), CONNECTOR.expired)
            return await run(ToolCall(arguments, _silent), session)
        finally:
            await egress.close()

    def call(action: str, **arguments: Any) -> Any:
        tools[action].check(arguments)
        result = asyncio.run(ask(action, arguments))
        return json.loads(release(result, tools[action].tool.output_schema, Nothing(), 1 << 20).text)

    yield call
    service.faults.clear()


async def _silent(_done: int, _total: int | None) -> None:
    """Tell nobody."""


@pytest.mark.parametrize(
    "identifier",
    [
        "../../../oauth2/token",
        "001/../../limits",
        "..",
        "001000000000000AAA?fields=Secret__c",
        "001%2e%2e%2f0000",
        "",
        "x" * 15 + "\n",
    ],
)
def test_a_path_cannot_be_climbed_through_a_records_id(call: Call, service: SalesforceService, identifier: str) -> None:
    """lessons.md 4 (FastMCP CVE-2026-32871): nothing is sent for an id that is none."""
    before = service.api_requests

    with pytest.raises(InvalidArguments):
        call("read", id=identifier)

    assert service.api_requests == before


@pytest.mark.parametrize(
    "field", ["Id FROM User", "Id, Secret__c", "Owner.Name", "(SELECT Id FROM Contacts)", "COUNT()"]
)
def test_no_query_is_written_through_a_fields_name(call: Call, service: SalesforceService, field: str) -> None:
    """lessons.md 4: the names of fields are the pinned ones and no others, wherever a field can be named."""
    before = service.api_requests

    for arguments in (
        {"fields": [field]},
        {"order_by": [{"field": field}]},
        {"filters": [{"field": field, "operator": "equals", "value": "x"}]},
        {"filters": [{"any_of": [{"field": field, "operator": "is_null"}]}]},
    ):
        with pytest.raises(InvalidArguments):
            call("search", **arguments)

    assert service.api_requests == before


def test_a_field_that_is_not_pinned_never_leaves_though_the_service_sends_it(
    call: Call, service: SalesforceService
) -> None:
    """Issue 2, Salesforce: the pinned snapshot gives the fields that may leave."""
    record = {
        "attributes": {"url": "/x"},
        "Id": ACCOUNT_ID,
        "Name": "Acme",
        "Secret__c": "s3cret",
        "Owner": {"Name": "s3cret"},
    }
    service.faults.add(Answer(path=DATA, status=200, body=record))
    service.faults.add(Answer(path=DATA, status=200, body={"records": [record], "done": True, "extra": "s3cret"}))

    read, found = call("read", id=ACCOUNT_ID, fields=["Name"]), call("search", fields=["Id", "Name"])

    assert read == {"record": {"Name": "Acme"}}
    assert found == {"records": [{"Id": ACCOUNT_ID, "Name": "Acme"}], "more": False, "total": 1}


@pytest.mark.parametrize("value", [{"nested": "s3cret"}, ["s3cret"], [["s3cret"]], [{"a": "s3cret"}], 5, True])
def test_nothing_is_smuggled_out_inside_a_field(call: Call, service: SalesforceService, value: Any) -> None:
    """What leaves is of the pinned type: a text field is a text, and nothing that could hold more."""
    service.faults.add(Answer(path=DATA, status=200, body={"Name": value}))

    with pytest.raises(Refusal) as refused:
        call("read", id=ACCOUNT_ID, fields=["Name"])

    assert refused.value.code == "upstream_malformed"
    assert "s3cret" not in f"{refused.value.message} {refused.value.detail}"


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.example/services/data/v59.0/query/01g-2000",
        "//evil.example/services/data/v59.0/query/01g-2000",
        "/services/oauth2/token",
        "/services/data/v59.0/query/../sobjects/User",
        "/services/data/v59.0/query/01g?x=1",
        "/services/data/v59.0/query/01g\n",
        "@evil.example/services/data/v59.0/query/01g",
        None,
        5,
        ["/services/data/v59.0/query/01g"],
    ],
)
def test_a_next_page_leads_nowhere_but_to_the_next_page(call: Call, service: SalesforceService, following: Any) -> None:
    """credentials.md B6 (7): the token goes to no address that an answer names."""
    page = {"records": [{"Id": ACCOUNT_ID}], "done": False, "totalSize": 9, "nextRecordsUrl": following}
    service.faults.add(Answer(path=DATA, status=200, body=page))
    before = service.api_requests

    with pytest.raises(Refusal) as refused:
        call("search", fields=["Id"])

    assert refused.value.code == "upstream_malformed"
    assert service.api_requests == before + 1


@pytest.mark.parametrize("records", [[], [{"Id": ACCOUNT_ID}]])
def test_pages_without_end_come_to_an_end(call: Call, service: SalesforceService, records: list[Any]) -> None:
    """A service that never says 'done' must not hold a call, a thread and a token for ever."""
    page = {"records": records, "done": False, "totalSize": "many", "nextRecordsUrl": f"{DATA}/query/01g-1"}
    service.faults.add(Answer(path=DATA, status=200, body=page, times=1000))
    before = service.api_requests

    with pytest.raises(Refusal) as refused:
        call("search", fields=["Id"], limit=2000)

    assert refused.value.code == "upstream_malformed"
    assert service.api_requests - before <= 101


# --- Writes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["@{first.id}", "see @{first.id}", "@{first.Name}", "@{operation_0.id}", "@{first.id}@{first.id}", "@{"]
)
def test_a_text_never_reads_what_another_write_answered(call: Call, service: SalesforceService, text: str) -> None:
    """The service puts answers in wherever a text looks like a reference, in fields that are shown to others too."""
    before = service.api_requests
    first = {"operation": "create", "resource": "accounts", "name": "first", "values": {"Name": "x"}}
    second = {"operation": "create", "resource": "accounts", "values": {"Name": text}}

    with pytest.raises(InvalidArguments):
        call("write", operations=[first, second])
    assert service.api_requests == before


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": "../../sobjects/User"}, {"id": ["001"]}, [], "x"])
def test_an_answer_to_a_write_is_an_id_or_nothing(call: Call, service: SalesforceService, body: Any) -> None:
    """What the service says of what it wrote is not passed on."""
    service.faults.add(Answer(path="/sobjects/Account", method="POST", status=201, body=body))

    with pytest.raises(Refusal) as refused:
        call("create", values={"Name": "x"})

    assert refused.value.code == "upstream_malformed"


@pytest.mark.parametrize(
    "code", ["DUPLICATE_VALUE", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "REQUIRED_FIELD_MISSING", "SOMETHING_ELSE"]
)
def test_no_word_of_the_service_comes_with_a_refused_write(call: Call, service: SalesforceService, code: str) -> None:
    """A validation rule's text may hold another record's secrets."""
    body = [{"message": "s3cret of record 001XX", "errorCode": code, "fields": ["s3cret"]}]
    service.faults.add(Answer(path="/sobjects/Account", method="POST", status=400, body=body))

    with pytest.raises(Refusal) as refused:
        call("create", values={"Name": "x"})

    assert refused.value.code == "upstream_rejected"
    assert "s3cret" not in f"{refused.value.message}{refused.value.detail}"
