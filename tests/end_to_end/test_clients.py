import anyio
import pytest
from mcp.shared.exceptions import MCPError

from broker.testing.salesforce import SalesforceService
from tests.support.broker import BrokerProcess
from tests.support.clients import CALL_ID, CODE, ERAS, TRANSPORTS, Era, Transport, connected

LISTED = [
    "salesforce_accounts_describe",
    "salesforce_accounts_read",
    "salesforce_accounts_search",
    "salesforce_contacts_describe",
    "salesforce_contacts_read",
    "salesforce_contacts_search",
]
BANKS = {
    "filters": [{"field": "Industry", "operator": "equals", "value": "Banking"}],
    "fields": ["Id", "Name", "Industry"],
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_agent_reads_salesforce_and_is_refused_an_export(
    starter: BrokerProcess, salesforce: SalesforceService, transport: Transport, era: Era
) -> None:
    """Issue 2: the line, one call end to end, with the MCP Python client over every transport and in both eras."""
    writes = salesforce.writes

    async def case() -> dict[str, str]:
        async with connected(starter, transport, era) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == LISTED

            found = await client.call_tool("salesforce_accounts_search", {**BANKS, "limit": 2})
            accounts = (found.structured_content or {})["records"]
            assert [account["Industry"] for account in accounts] == ["Banking", "Banking"]

            one = await client.call_tool("salesforce_accounts_read", {"id": accounts[0]["Id"], "fields": ["Name"]})
            assert (one.structured_content or {})["record"] == {"Name": accounts[0]["Name"]}

            calls = {"search": (found.meta or {})[CALL_ID], "read": (one.meta or {})[CALL_ID]}
            for action in ("export", "update", "delete"):
                refused = await client.call_tool(f"salesforce_accounts_{action}", {})
                assert (refused.meta or {})[CODE] == "access_denied"
                assert "finance-analyst-readonly" in refused.content[0].text  # type: ignore[union-attr]
                calls[action] = (refused.meta or {})[CALL_ID]
            with pytest.raises(MCPError):
                await client.call_tool("salesforce_cases_read", {"id": accounts[0]["Id"]})
            return calls

    calls = anyio.run(case)

    decisions = {action: _decision(starter, call_id) for action, call_id in calls.items()}
    permitted, denied = ("permit", "released", None), ("deny", "refused", "access_denied")
    assert decisions == {"search": permitted, "read": permitted, "export": denied, "update": denied, "delete": denied}
    assert salesforce.writes == writes


def _decision(broker: BrokerProcess, call_id: str) -> tuple[str, str, str | None]:
    requested, decided, finished = broker.operators.get(f"/v1/trail/calls/{call_id}")
    assert (requested["kind"], decided["kind"], finished["kind"]) == ("requested", "decided", "finished")
    return decided["policy"]["decision"], finished["outcome"]["status"], finished["outcome"]["code"]


@pytest.mark.parametrize("era", ERAS)
def test_a_search_over_several_pages_reports_its_progress(starter: BrokerProcess, era: Era) -> None:
    """Issue 2, Salesforce: paged under a cap; architecture.md: `emit` takes progress as it comes."""
    seen: list[tuple[float, float | None]] = []

    async def told(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 - the client's
        seen.append((progress, total))

    async def case() -> int:
        async with connected(starter, "streamable-http", era) as client:
            arguments = {"fields": ["Id"], "limit": 150}
            result = await client.call_tool("salesforce_contacts_search", arguments, progress_callback=told)
            return len((result.structured_content or {})["records"])

    assert anyio.run(case) == 150
    assert sorted(done for done, _ in seen) == [60, 120]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_clients_agree_on_what_the_broker_is(starter: BrokerProcess, transport: Transport) -> None:
    """One server behind every transport and era: the same name, the same capabilities, the same tools."""

    async def case(era: Era) -> tuple[object, ...]:
        async with connected(starter, transport, era) as client:
            tools = (await client.list_tools()).tools
            assert client.server_capabilities.resources is None
            return [tool.model_dump() for tool in tools], client.server_capabilities.prompts

    assert anyio.run(case, "legacy") == anyio.run(case, "2026-07-28")
