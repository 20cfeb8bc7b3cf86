"""The OpenAPI connector on a real session, through real egress, against a library that is described."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from broker.catalog import CatalogTool, catalog_tool
from broker.connector import ConnectorDocument, Scope, ToolCall
from broker.egress import Egress, HeaderSecret, Limits, Reach, Secret, Session
from broker.redact import release
from broker.vault.cursors import CursorSealer
from connectors.openapi import CONNECTOR
from connectors.openapi.description import Description
from connectors.openapi.pinning import pin
from connectors.openapi.settings import Settings
from tests.support.library import KEY, Library

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
RESOURCES = {"books": "/books", "loans": "tag:loans", "events": "GET /events"}


class _Nothing:
    def hits(self, data: bytes) -> bool:  # noqa: ARG002 - the protocol's own signature
        return False


class _Key:
    """An API key in the library's own header."""

    async def header(self) -> Secret:
        return HeaderSecret(KEY, "X-Library-Key")

    async def renew(self, spent: Secret) -> None:
        """Keep it: a key has no successor."""


class Reader:
    """A connection to the library: its tools as a document and a description make them, called as the pipeline does."""

    def __init__(self, library: Library, runner: asyncio.Runner, egress: Egress) -> None:
        self.library = library
        self.resources: dict[str, str] = dict(RESOURCES)
        self.settings: dict[str, Any] = {}
        self.scope = Scope()
        self.key = "k" * 64
        self.most_bytes: int | None = None
        self.progress: list[int] = []
        self.cursors = CursorSealer(bytes(32))
        self._run = runner.run
        reach = Reach(frozenset({library.url.removeprefix("https://")}), LOOPBACK)

        async def made() -> Any:
            return egress.client(reach, Limits(total_seconds=5), library.authority)

        self.client = runner.run(made())

    @property
    def document(self) -> ConnectorDocument:
        """The document, as it is now."""
        return ConnectorDocument.model_validate(
            {
                "type": "openapi",
                "url": self.library.url,
                "resources": self.resources,
                "snapshot": "library.json",
                "settings": self.settings,
            }
        )

    def pinned(self) -> dict[str, Any]:
        """Return what is pinned of the library's description."""
        return pin(Description(self.library.description), self.resources, Settings.model_validate(self.settings))

    @property
    def tools(self) -> Mapping[str, CatalogTool]:
        """The tools, by their names without the connector's."""
        found = [catalog_tool("library", tool) for tool in CONNECTOR.tools(self.document, self.library.description)]
        return {tool.name.removeprefix("library_"): tool for tool in found}

    def call(self, name: str, **arguments: Any) -> Any:
        """Check the arguments, run a tool, and return what is released of its result."""
        tool = self.tools[name]
        tool.check(arguments)
        assert tool.tool.run is not None
        run = tool.tool.run
        cursors = self.cursors.of("spiffe://prod/agent/reader", name)
        self.progress = []
        call = ToolCall(arguments, self._emit, self.scope, (), self.key, cursors, self.most_bytes)
        result = self.ask(lambda session: run(call, session))
        released = release(result, tool.tool.output_schema, _Nothing(), 1 << 22)
        return msgspec.json.decode(released.text)

    def ask(self, question: Callable[[Session], Awaitable[Any]]) -> Any:
        """Ask something with a session."""

        async def asked() -> Any:
            return await question(Session(self.client, self.library.url, _Key(), CONNECTOR.expired))

        return self._run(asked())

    async def _emit(self, done: int, _total: int | None) -> None:
        self.progress.append(done)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Serve the library."""
    with Library(tmp_path_factory.mktemp("library")) as library:
        yield library


@pytest.fixture
def reader(library: Library, runner: asyncio.Runner, egress: Egress) -> Reader:
    """Connect to the library, in the state in which it begins."""
    library.start()
    return Reader(library, runner, egress)
