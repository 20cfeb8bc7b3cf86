"""How long a server may take to begin: what may last for days does not hold a call that never gets anywhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from broker.connector import ConnectorDocument, NoDialogue, ToolCall, errors
from connectors.mcp.run import Server
from connectors.mcp.settings import McpSettings
from connectors.mcp.sse import SseServer

pytestmark = pytest.mark.anyio
URL = "https://up.example/mcp"
ACKNOWLEDGED = b'data: {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged"}\n\n'


class Session:
    """A session with a server that sends the head of an answer, perhaps something of the rest, and then no more."""

    def __init__(self, *said: bytes) -> None:
        self.limits = SimpleNamespace(total_seconds=0.01, response_bytes=1000)
        self._said = said

    @contextlib.asynccontextmanager
    async def stream(self, *_request: Any, lasting: bool) -> AsyncIterator[Any]:
        """Answer."""
        assert lasting
        yield SimpleNamespace(status=200, headers={"content-type": "text/event-stream"}, chunks=self._chunks)

    async def _chunks(self) -> AsyncIterator[bytes]:
        for one in self._said:
            yield one
        await asyncio.Event().wait()


class Following(NoDialogue):
    """A client that has subscribed."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.over = asyncio.Event()

    def begun(self) -> None:
        """Note it."""
        self.open.set()

    async def ended(self) -> None:
        """Wait until it is over."""
        await self.over.wait()


def following(client: Following, session: Session) -> Any:
    """Subscribe to a resource of a server of 2026-07-28."""
    document = ConnectorDocument.model_validate({"type": "mcp", "url": URL, "snapshot": "x.json"})
    server = Server(document, McpSettings(), {"versions": ["2026-07-28"]})
    call = ToolCall({"uri": "x://y"}, None, dialogue=client)  # type: ignore[arg-type] # it tells no progress
    return server.follow(call, session)  # type: ignore[arg-type] # as much of a session as it uses


async def test_a_stream_that_names_no_endpoint_in_time_is_given_up() -> None:
    """Issue 6, `mcp`: hanging servers; this one sends its headers and no more."""
    with pytest.raises(errors.UpstreamTimeout):
        async with SseServer(Session(), URL, {}).connected():  # type: ignore[arg-type] # as much as it uses
            pass


async def test_a_subscription_that_is_not_taken_in_time_is_given_up() -> None:
    """The same of 2026-07-28: until a subscription is acknowledged, it is a request like any other."""
    with pytest.raises(errors.UpstreamTimeout):
        await following(Following(), Session())


async def test_a_subscription_that_was_taken_lasts() -> None:
    """Once it is taken, nothing need come for days."""
    client, session = Following(), Session(ACKNOWLEDGED)
    session.limits.total_seconds = 30.0
    task = asyncio.ensure_future(following(client, session))
    await client.open.wait()
    loop = asyncio.get_running_loop()

    planned = [one for one in loop._scheduled if not one.cancelled()]  # type: ignore[attr-defined] # what the loop waits for

    assert not planned
    client.over.set()
    assert await task == {}
