"""The Salesforce connector on a real session, through real egress, against the Salesforce-shaped service."""

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.catalog import CatalogTool, catalog_tool
from broker.connector import ConnectorDocument, Scope, ToolCall
from broker.egress import Client, Egress, Limits, Reach, Secret, Session
from broker.oauth import JwtBearerGrant, issue_by_assertion
from broker.testing.salesforce import SalesforceService
from broker.vault.cursors import CursorSealer
from connectors.salesforce import CONNECTOR

OBJECTS = {"accounts": "Account", "contacts": "Contact", "opportunities": "Opportunity", "cases": "Case"}
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
STARTER = Path(__file__).parents[2] / "broker/starter/connectors/salesforce.snapshot.json"

Call = Callable[..., Any]
"""`call("accounts_search", filters=[…])` runs a tool as the pipeline does."""


class HeldToken:
    """The credential of a grant, as the vault keeps it: one token, replaced when it was refused."""

    def __init__(self, service: SalesforceService, egress: Egress) -> None:
        self._service = service
        reach = Reach(frozenset({service.url.removeprefix("https://")}), LOOPBACK)
        self.client = egress.client(reach, Limits(total_seconds=5), service.ca_file.read_text())
        self._token: Secret | None = None
        self.renewals = 0

    async def header(self) -> Secret:
        """Return the header, getting a token first if there is none."""
        if self._token is None:
            key = Secret(self._service.private_key_file.read_text())
            grant = JwtBearerGrant(self._service.consumer_key, self._service.username, key)
            url = self._service.url + "/services/oauth2/token"
            self._token = (await issue_by_assertion(self.client, url, self._service.audience, grant)).access
        return Secret("Bearer " + self._token.reveal())

    async def renew(self, spent: Secret) -> None:  # noqa: ARG002 - the protocol's own signature
        """Let go of the token."""
        self._token = None
        self.renewals += 1


class Org:
    """A connection to the service: its tools, and whatever else a session can be used for."""

    def __init__(self, service: SalesforceService, runner: asyncio.Runner, egress: Egress) -> None:
        self.service = service
        self.progress: list[tuple[int, int | None]] = []
        self.cursors = CursorSealer(bytes(32))
        self.take_back()
        self._run = runner.run
        self._egress = egress
        self.held = HeldToken(service, egress)
        self.document = ConnectorDocument.model_validate(
            {"type": "salesforce", "url": service.url, "resources": OBJECTS, "snapshot": "pinned.json"}
        )
        self.snapshot: Any = json.loads(STARTER.read_text())

    def take_back(self) -> None:
        """Decide nothing more narrowly than by a permit of everything."""
        self.scope = Scope()
        self.touched: dict[tuple[str, str], Scope] = {}
        self.key = ""
        self.most_bytes: int | None = None
        self.agent = "spiffe://prod/agent/finance-analyst"

    @property
    def tools(self) -> Mapping[str, CatalogTool]:
        """The tools that the document and the snapshot make, by their names without the connector's."""
        found = [catalog_tool("salesforce", tool) for tool in CONNECTOR.tools(self.document, self.snapshot)]
        return {tool.name.removeprefix("salesforce_"): tool for tool in found}

    def session(self) -> Session:
        """Return a fresh session, as every attempt has one."""
        return Session(self.held.client, self.service.url, self.held, CONNECTOR.expired)

    def impatient(self) -> Client:
        """Return a client that waits for a tenth of a second only."""

        async def made() -> Client:
            limits = Limits(total_seconds=0.1)
            return self._egress.client(self.held.client.reach, limits, self.service.ca_file.read_text())

        return self._run(made())

    def ask(self, question: Callable[[Session], Awaitable[Any]]) -> Any:
        """Ask something of the connector that is no tool."""

        async def asked() -> Any:
            return await question(self.session())

        return self._run(asked())

    def call(self, name: str, **arguments: Any) -> Any:
        """Check the arguments and run a tool, within the scopes that are set."""
        tool = self.tools[name]
        tool.check(arguments)
        assert tool.tool.run is not None
        run, touches = tool.tool.run, tool.tool.touches
        touched = [] if touches is None else touches(arguments)
        scopes = [self.touched.get((one.resource, one.action), Scope()) for one in touched]
        cursors = self.cursors.of(self.agent, name)
        call = ToolCall(arguments, self._emit, self.scope, scopes, self.key, cursors, self.most_bytes)
        self.progress = []
        return self.ask(lambda session: run(call, session))

    def undecided(self, run: Any, **arguments: Any) -> Any:
        """Run a tool's function as if nobody had decided what it touches."""
        return self.ask(lambda session: run(ToolCall(arguments, self._emit), session))

    def cut_off(self, name: str, **arguments: Any) -> None:
        """Begin a call, and cancel it as soon as it tells of progress."""
        tool, told = self.tools[name].tool, asyncio.Event()

        async def emit(_done: int, _total: int | None) -> None:
            told.set()

        call = ToolCall(arguments, emit, self.scope, (), self.key, self.cursors.of(self.agent, name))
        assert tool.run is not None
        run = tool.run

        async def begun() -> None:
            task = asyncio.ensure_future(run(call, self.session()))
            await told.wait()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self._run(begun())

    async def _emit(self, done: int, total: int | None) -> None:
        self.progress.append((done, total))


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """Keep one loop, and with it one client, for all of these tests."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def egress(runner: asyncio.Runner) -> Iterator[Egress]:
    """Open the way out."""

    async def opened() -> Egress:
        return Egress()

    egress = runner.run(opened())
    yield egress
    runner.run(egress.close())


@pytest.fixture(scope="session")
def shared_org(tmp_path_factory: pytest.TempPathFactory, runner: asyncio.Runner, egress: Egress) -> Iterator[Org]:
    """Serve an org with small pages, so that few records make several."""
    with SalesforceService(tmp_path_factory.mktemp("salesforce"), page_size=60) as service:

        async def made() -> Org:
            return Org(service, runner, egress)

        yield runner.run(made())


@pytest.fixture
def org(shared_org: Org) -> Iterator[Org]:
    """Lend the shared org; faults and changes of the document are taken back."""
    document, snapshot, renewals = shared_org.document, shared_org.snapshot, shared_org.held.renewals
    shared_org.held.renewals = 0
    yield shared_org
    shared_org.service.faults.clear()
    shared_org.take_back()
    shared_org.document, shared_org.snapshot, shared_org.held.renewals = document, snapshot, renewals


@pytest.fixture(scope="session")
def shared_writable(tmp_path_factory: pytest.TempPathFactory, runner: asyncio.Runner, egress: Egress) -> Iterator[Org]:
    """Serve an org that tests write to, with its custom object mapped and pinned."""
    with SalesforceService(tmp_path_factory.mktemp("writable")) as service:

        async def made() -> Org:
            return Org(service, runner, egress)

        org = runner.run(made())
        resources = {**OBJECTS, "invoices": "Invoice__c"}
        org.document = org.document.model_copy(update={"resources": resources})
        fetch = CONNECTOR.describe
        assert fetch is not None
        org.snapshot = org.ask(lambda session: fetch(session, org.document))
        yield org


@pytest.fixture
def writable(shared_writable: Org) -> Iterator[Org]:
    """Lend the org that tests write to; scopes, faults, settings and allowances are taken back."""
    document, data = shared_writable.document, shared_writable.service.data
    yield shared_writable
    shared_writable.service.faults.clear()
    shared_writable.take_back()
    shared_writable.document, data.bulk.polls, data.daily_calls = document, 1, 15_000


@pytest.fixture
def call(org: Org) -> Call:
    """Call tools of the shared org."""
    return org.call
