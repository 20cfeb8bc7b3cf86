"""`list_changed`: told in both eras, by every transport, to those whose own list is another than it was."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
import requests
from mcp import Client
from mcp.client.subscriptions import SubscriptionLost

from tests.attacks.test_sessions import headers, open_session
from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import ERAS, TRANSPORTS, Era, Transport, connected
from tests.support.documents import POLICIES
from tests.support.stopping import resume, suspend

WITHOUT_WRITE = POLICIES.replace("deny: [purge]", "deny: [purge, write]")
OTHERS_MORE = POLICIES.replace("actions: [read]", "actions: [read, write]")


def put(broker: ServedBroker, name: str, text: str) -> None:
    """Change a document, and wait until what follows from that is done."""
    before = broker.parts.documents.current.digest
    broker.written.put(name, text)
    until(lambda: broker.parts.documents.current.digest != before)
    broker.await_(broker.parts.server.listeners.look)


def listening(broker: ServedBroker) -> bool:
    """Tell whether somebody listens, and can be told."""
    agents = broker.parts.server.listeners._of.values()
    by_get = list(broker.doors._sessions._server_instances.values())
    return any(one.subscriptions or one.sessions for one in agents) and all(
        "_GET_stream" in one._request_streams for one in by_get
    )


async def noticed(broker: ServedBroker, transport: Transport, era: Era, change: Callable[[], None]) -> tuple[int, int]:
    """Return how many notices the analyst's client has of a change, and how many tools it lists then."""
    notices = 0
    heard = anyio.Event()

    async def hear(message: Any) -> None:
        nonlocal notices
        if era == "legacy" and getattr(message, "method", None) == "notifications/tools/list_changed":
            notices += 1
            heard.set()

    async def listen(client: Client) -> None:
        nonlocal notices
        async with client.listen(tools_list_changed=True) as subscription:
            async for _ in subscription:
                notices += 1
                heard.set()

    async with (
        connected(broker, transport, era, message_handler=hear) as client,
        anyio.create_task_group() as tasks,
    ):
        if era != "legacy":
            tasks.start_soon(listen, client)
        await anyio.to_thread.run_sync(until, partial(listening, broker))
        await anyio.to_thread.run_sync(change)
        with anyio.fail_after(30):
            await heard.wait()
        tools = len((await client.list_tools()).tools)
        tasks.cancel_scope.cancel()
    return notices, tools


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_agent_whose_list_changes_is_told_once(serve: Serve, transport: Transport, era: Era) -> None:
    """Issue 4, List and call: when documents change, subscribers get `list_changed` in both eras."""
    broker = serve()

    def change() -> None:
        put(broker, "policies.yaml", OTHERS_MORE)  # another agent's list
        put(broker, "policies.yaml", WITHOUT_WRITE)

    assert anyio.run(noticed, broker, transport, era, change) == (1, 2)


def test_what_has_left_is_forgotten(serve: Serve) -> None:
    """Nobody is kept in mind for having listened once."""
    broker = serve()
    change = partial(put, broker, "policies.yaml", WITHOUT_WRITE)

    anyio.run(noticed, broker, "streamable-http", "2026-07-28", change)
    anyio.run(noticed, broker, "sse", "legacy", partial(put, broker, "policies.yaml", POLICIES))

    until(lambda: not broker.parts.server.listeners._of)


def test_a_suspended_agents_subscription_is_cut(serve: Serve) -> None:
    """Issue 4, The kill switch: a subscription is a stream; one that was cut is told nothing more."""
    broker = serve()

    heard: list[Any] = []

    async def main() -> None:
        async with connected(broker, "streamable-http", "2026-07-28") as client, anyio.create_task_group() as tasks:

            async def listen() -> None:
                with contextlib.suppress(SubscriptionLost):
                    async with client.listen(tools_list_changed=True) as subscription:
                        heard.extend([event async for event in subscription])

            tasks.start_soon(listen)
            await anyio.to_thread.run_sync(until, partial(listening, broker))
            await anyio.to_thread.run_sync(partial(suspend, broker.operators))

    anyio.run(main)

    until(lambda: not broker.parts.server.listeners._of)
    assert not heard
    resume(broker.operators)


def test_a_session_that_says_often_that_it_is_there_is_one(serve: Serve) -> None:
    """What an agent can repeat must not pile up."""
    broker = serve()
    session = open_session(broker)

    for _ in range(5):
        body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        requests.post(f"{broker.url}/mcp", headers=headers(broker.token(), session), json=body, timeout=60)

    (agent,) = broker.parts.server.listeners._of.values()
    assert len(agent.sessions) == 1
