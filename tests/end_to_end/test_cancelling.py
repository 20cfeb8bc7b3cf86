import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client

from broker.connector.blocking import run_blocking
from tests.support.broker import ServedBroker, until
from tests.support.clients import ERAS, TRANSPORTS, Era, Transport, connected
from tests.support.notes import NotesService

Ask = Callable[[Client], Coroutine[Any, Any, None]]


async def cancelled(client: Client, ask: Ask, reached: Callable[[], object]) -> None:
    """Ask for something, and give up once it has got somewhere."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, client)
        await anyio.to_thread.run_sync(reached)
        tasks.cancel_scope.cancel()


async def write(client: Client) -> None:
    """Write a note."""
    await client.call_tool("notes_notes_write", {"id": "given up"})


async def misbehave(client: Client) -> None:
    """Do what the test says."""
    await client.call_tool("notes_notes_misbehave", {"id": "n1"})


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_giving_up_cuts_the_request_and_leaves_an_unknown_outcome(
    broker: ServedBroker, notes_service: NotesService, transport: Transport, era: Era
) -> None:
    """Issue 2, MCP: cancelling a call cuts the upstream request and is recorded as what it is; the client goes on."""
    before = len(broker.records(kind="finished"))

    async def case() -> None:
        async with connected(broker, transport, era) as client:
            with notes_service.holding():
                await cancelled(client, write, lambda: notes_service.arrived.get(timeout=60))
                assert await anyio.to_thread.run_sync(notes_service.left.wait, 60)
            result = await client.call_tool("notes_notes_read", {"id": "n1"})
            assert not result.is_error

    anyio.run(case)

    outcomes = [record["outcome"] for record in broker.records(kind="finished")[before:]]
    assert [outcome["status"] for outcome in outcomes] == ["outcome_unknown", "released"]
    assert broker.open_calls() == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_giving_up_before_anything_was_sent_is_only_cancelled(
    broker: ServedBroker, transport: Transport, era: Era
) -> None:
    """architecture.md: `outcome_unknown` is for what was sent; what was not cannot have had an effect."""
    reached: list[bool] = []
    before = len(broker.records(kind="finished"))

    async def stay(_call: Any, _session: Any) -> Any:
        reached.append(True)
        await anyio.sleep_forever()

    async def case() -> None:
        broker.notes.behaves = stay
        async with connected(broker, transport, era) as client:
            await cancelled(client, misbehave, lambda: until(lambda: reached))
            await anyio.to_thread.run_sync(until, lambda: len(broker.records(kind="finished")) > before)

    anyio.run(case)

    assert broker.last_status() == "cancelled"


@pytest.mark.parametrize("era", ERAS)
def test_giving_up_cuts_a_blocking_client_too(broker: ServedBroker, notes_service: NotesService, era: Era) -> None:
    """connector/blocking.py: cancelling cuts the request that is under way, and the worker thread ends."""

    async def in_a_thread(_call: Any, session: Any) -> Any:
        return await run_blocking(session, lambda client: client.get(f"{session.base_url}/notes/n1").json())

    async def case() -> None:
        broker.notes.behaves = in_a_thread
        async with connected(broker, "streamable-http", era) as client:
            with notes_service.holding():
                await cancelled(client, misbehave, lambda: notes_service.arrived.get(timeout=60))
                assert await anyio.to_thread.run_sync(notes_service.left.wait, 60)

    anyio.run(case)

    until(lambda: broker.last_status() == "outcome_unknown")


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_client_that_leaves_has_given_up(
    broker: ServedBroker, notes_service: NotesService, transport: Transport, era: Era
) -> None:
    """A process that ends, a stream or a session that is closed: nobody waits for the answer any more."""
    before = len(broker.records(kind="finished"))

    async def case() -> None:
        with notes_service.holding():
            with contextlib.suppress(Exception):
                async with connected(broker, transport, era) as client, anyio.create_task_group() as tasks:
                    tasks.start_soon(write, client)
                    await anyio.to_thread.run_sync(lambda: notes_service.arrived.get(timeout=60))
                    raise ConnectionAbortedError
            assert await anyio.to_thread.run_sync(notes_service.left.wait, 60)

    anyio.run(case)

    until(lambda: len(broker.records(kind="finished")) > before)
    assert broker.last_status() == "outcome_unknown"
