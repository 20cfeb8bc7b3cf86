"""Who is told when its list of tools changes, in both protocol eras: only those whose own list really did."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import mcp_types as types
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

logger = logging.getLogger(__name__)

_MOST_OF_AN_AGENT = 64  # subscriptions of the 2026-07-28 era, each a request that stays open
_MOST_BEHIND = 8  # notices; who reads none of them is let go, and asks again
_SLOWEST = 1.0  # seconds in which a client takes nothing of what waits for it

Lists = Mapping[str, Sequence[Any]]
"""What an agent may list now: `tools`, `prompts`, `resources`."""
Listed = Callable[[str], Lists]
_EVENTS: Mapping[str, ServerEvent] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}


class Listeners:
    """The open subscriptions and sessions of each agent, and what its list was when they were last told."""

    def __init__(self, listed: Listed) -> None:
        self._listed = listed
        self._of: dict[str, _OfOneAgent] = {}

    async def listen(
        self, workload: str, context: ServerRequestContext[Any, Any], params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Serve one subscription of the 2026-07-28 era until the client leaves or it is cut."""
        agent = self._agent(workload)
        agent.subscriptions += 1
        try:
            return await agent.handler(context, params)
        finally:
            agent.subscriptions -= 1
            self._forget(workload)

    async def updated(self, workload: str, uri: str) -> None:
        """Tell the subscriptions of the 2026-07-28 era that name a resource that it has changed."""
        agent = self._of.get(workload)
        if agent is not None:
            await agent.bus.publish(ResourceUpdated(uri))

    def joined(self, workload: str, connection: Connection) -> None:
        """Note a session of the handshake revisions, until it ends."""
        sessions = self._agent(workload).sessions
        if connection in sessions:  # a client may say so as often as it likes
            return
        sessions.add(connection)
        connection.exit_stack.callback(self._left, workload, connection)

    async def look(self) -> None:
        """Tell everyone whose list is another than it was. Nobody waits for a client that does not read."""
        async with anyio.create_task_group() as tasks:
            for workload, agent in list(self._of.items()):
                listed = self._listed(workload)
                changed = [name for name in _EVENTS if listed[name] != agent.listed[name]]
                agent.listed = listed
                for name in changed:
                    await agent.bus.publish(_EVENTS[name])
                    for connection in agent.sessions:
                        tasks.start_soon(_tell, connection, name)

    def _agent(self, workload: str) -> "_OfOneAgent":
        if workload not in self._of:
            self._of[workload] = _OfOneAgent(self._listed(workload))
        return self._of[workload]

    def _left(self, workload: str, connection: Connection) -> None:
        self._of[workload].sessions.discard(connection)
        self._forget(workload)

    def _forget(self, workload: str) -> None:
        agent = self._of[workload]
        if not agent.subscriptions and not agent.sessions:
            del self._of[workload]


class _OfOneAgent:
    """What is open for one agent."""

    def __init__(self, listed: Lists) -> None:
        self.listed = listed
        self.bus = InMemorySubscriptionBus()
        self.handler = ListenHandler(self.bus, max_subscriptions=_MOST_OF_AN_AGENT, max_buffered_events=_MOST_BEHIND)
        self.subscriptions = 0
        self.sessions: set[Connection] = set()


async def _tell(connection: Connection, name: str) -> None:
    with anyio.move_on_after(_SLOWEST):
        await connection.notify(f"notifications/{name}/list_changed", None)
