"""The way back to a client while its call runs: what a server behind a tool asks or tells it, in the SDK's types."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types
from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from broker.errors import ClientCannot, UpstreamMalformed

Context = ServerRequestContext[Any, Any]

_ASKS = ("elicitation", "sampling", "roots")
_LOG_LEVEL = "io.modelcontextprotocol/logLevel"
_STATE = "aam.log_level"
_USUAL_LEVEL = "info"  # of clients of the handshake era that have named none
_QUESTIONS: Mapping[str, tuple[type[Any], type[BaseModel]]] = {
    "elicitation/create": (types.ElicitRequest, types.ElicitResult),
    "sampling/createMessage": (types.CreateMessageRequest, types.CreateMessageResultWithTools),
    "roots/list": (types.ListRootsRequest, types.ListRootsResult),
}


class ClientDialogue:
    """The client that sent one request. Satisfies `connector.Dialogue`."""

    def __init__(self, context: Context, answers: Mapping[str, Any] | None = None, state: str | None = None) -> None:
        self._context = context
        modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        said = context.session.client_capabilities
        declared = {} if said is None else said.model_dump(by_alias=True, mode="json", exclude_none=True)
        self.waits = not modern and context.session.can_send_request
        self.capabilities = {name: declared[name] for name in _ASKS if name in declared}
        self.log_level = _level(context, modern=modern)
        self.answers = None if answers is None else {name: _plain(answer) for name, answer in answers.items()}
        self.state = state

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask the client, on the stream of its own request."""
        if method not in _QUESTIONS or not self.waits:
            raise ClientCannot
        asks, answers = _QUESTIONS[method]
        try:
            question = asks.model_validate({"method": method, "params": dict(params)}, by_name=False)
        except ValidationError:
            raise UpstreamMalformed(detail=f"the server asks for {method} otherwise than MCP says") from None
        related = ServerMessageMetadata(related_request_id=self._context.request_id)
        try:
            answer = await self._context.session.send_request(question, answers, metadata=related)
        except (MCPError, ValidationError) as error:
            raise ClientCannot(detail=f"the client answers {method} with {type(error).__name__}") from None
        return _plain(answer)

    def asks(self, method: str) -> None:
        """Note nothing: it is asked by the answer."""

    async def updated(self, uri: str) -> None:
        """Tell nobody: what is called is no subscription."""

    def begun(self) -> None:
        """Note nothing."""

    async def ended(self) -> None:
        """Return at once."""

    async def log(self, level: str, data: Any, logger: str | None) -> None:
        """Tell the client, on the stream of its own request."""
        await self._context.session.send_notification(
            types.LoggingMessageNotification(
                params=types.LoggingMessageNotificationParams(level=level, data=data, logger=logger)  # type: ignore[arg-type] # the server's word, checked by the SDK
            ),
            related_request_id=self._context.request_id,
        )


class Following(ClientDialogue):
    """The client that has subscribed to a resource, as long as it wants that."""

    def __init__(self, context: Context, tell: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(context)
        self._tell = tell
        self.open = asyncio.Event()
        self.over = asyncio.Event()
        self.permitted: Callable[[], bool] = lambda: True
        """Whether it could still begin."""

    async def updated(self, uri: str) -> None:
        """Tell the client."""
        await self._tell(uri)

    def begun(self) -> None:
        """Note that the subscription is open."""
        self.open.set()

    async def ended(self) -> None:
        """Return once the client wants it no more."""
        await self.over.wait()


def set_level(context: Context, level: str) -> None:
    """Note from which level on a client of the handshake era wants log messages."""
    context.session._connection.state[_STATE] = level  # noqa: SLF001 - the SDK shows what outlives a message nowhere else


def _level(context: Context, *, modern: bool) -> str | None:
    """Return from which level on the client wants log messages: of 2026-07-28, each request says so, or wants none."""
    if modern:
        named: Any = (context.meta or {}).get(_LOG_LEVEL)
        return named if isinstance(named, str) else None
    level: str = context.session._connection.state.get(_STATE, _USUAL_LEVEL)  # noqa: SLF001
    return level


def _plain(model: Any) -> dict[str, Any]:
    """Return one of the SDK's values as it is on the wire."""
    plain: dict[str, Any] = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return plain
