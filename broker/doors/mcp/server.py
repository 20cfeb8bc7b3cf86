"""Listing and calling tools: what MCP asks for, translated for the pipeline and back."""

import base64
import binascii
import functools
import logging
from typing import Any

import mcp_types as types
import msgspec
from mcp.server import CacheHint, NotificationOptions, Server, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

import broker
from broker.catalog import CatalogTool
from broker.documents import Documents, Snapshot
from broker.doors.entrance import Caller
from broker.doors.mcp.asking import asked
from broker.doors.mcp.listeners import Listeners
from broker.doors.mcp.narrowed import narrowed_schema, said
from broker.doors.mcp.refusals import META, as_result
from broker.errors import InternalError, Refusal
from broker.pipeline import Origin, Pipeline, Request
from broker.policy import Narrowing

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]

_INSTRUCTIONS = (
    "Each tool acts on an enterprise service under your own identity and policies. "
    "A refused call says why, with a code in square brackets, and what would be permitted instead."
)


class _Sdk(Server[Any]):
    """The SDK's server, which tells clients of the handshake revisions that their list may change."""

    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *more: Any, **others: Any
    ) -> InitializationOptions:
        """Return what is said in a handshake: the SDK asks without options on some transports."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, *more, **others)


class McpServer:
    """The SDK's low-level server over the pipeline; one serves every transport and both protocol eras."""

    def __init__(self, documents: Documents, pipeline: Pipeline) -> None:
        self._documents = documents
        self._pipeline = pipeline
        self.listeners = Listeners(self._listed)
        self.sdk: Server[Any] = _Sdk(
            "agent-access-manager",
            version=broker.__version__,
            title="Agent Access Manager",
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=self._listen,
            cache_hints={"tools/list": CacheHint(ttl_ms=0, scope="private")},
            # no tool asks for Mcp-Param-* headers, so the SDK need not list the tools before each call
            get_tool_input_schema=lambda _name: None,
        )
        self.sdk.add_notification_handler("notifications/initialized", types.NotificationParams, self._initialized)
        self.sdk.middleware.append(_without_exceptions)  # behind the SDK's own, which writes them into spans

    async def _list_tools(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        documents = self._documents.current
        workload = caller_of(context).identity.spiffe_id
        start = _start(params.cursor if params else None, documents)
        stop = start + documents.broker.caps.list_page
        return types.ListToolsResult(
            tools=self._listed(workload, start, stop),
            next_cursor=_cursor(stop, documents) if stop < len(documents.visible.get(workload, ())) else None,
        )

    def _listed(self, workload: str, start: int = 0, stop: int | None = None) -> list[types.Tool]:
        """Return what an agent may list now, or a page of it."""
        documents = self._documents.current
        tools, policies = documents.visible.get(workload, ()), documents.policies_of(workload)
        return [_definition(tool, policies.narrowing(tool.resource, tool.action)) for tool in tools[start:stop]]

    async def _listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        return await self.listeners.listen(caller_of(context).identity.spiffe_id, context, params)

    async def _initialized(self, context: Context, _params: types.NotificationParams) -> None:
        connection = context.session._connection  # noqa: SLF001 - the SDK shows what outlives a message nowhere else
        self.listeners.joined(caller_of(context).identity.spiffe_id, connection)

    async def _call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        async def emit(done: int, total: int | None) -> None:
            await context.session.report_progress(done, total)

        caller = caller_of(context)
        request = Request(caller.identity, params.name, params.arguments or {}, _origin(context, caller))
        try:
            answer = await self._pipeline.call(request, emit)
        except Refusal as refusal:
            logger.info("call refused", extra={"code": refusal.code, "call_id": refusal.call_id})
            return asked(refusal, context, self._documents.current.broker.approvals.url) or as_result(refusal)
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=answer.text.decode())],
            structured_content=msgspec.json.decode(answer.text),
            _meta={META + "call_id": answer.call_id},
        )


async def _without_exceptions(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Let nothing that an exception says reach an agent or a span: the SDK would tell it on the older wires."""
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is
        logger.error("the MCP door failed", extra={"exception": type(error).__name__})  # noqa: TRY400 - no traceback
        raise MCPError(types.INTERNAL_ERROR, InternalError().message, data={"code": InternalError.code}) from None


def caller_of(context: Context) -> Caller:
    """Return the caller of this one message, as its transport noted it."""
    if isinstance(context.request, Caller):
        return context.request
    caller: Caller = context.request.scope["aam.caller"]  # type: ignore[union-attr]
    return caller


def _origin(context: Context, caller: Caller) -> Origin:
    params = context.session.client_params
    meta: Any = context.meta or {}
    traceparent = meta.get("traceparent")
    return Origin(
        transport=caller.transport,
        source=caller.source,
        client=params.client_info.name if params else None,
        client_version=params.client_info.version if params else None,
        protocol=context.protocol_version,
        traceparent=traceparent if isinstance(traceparent, str) else None,
    )


@functools.lru_cache(maxsize=4096)
def _definition(tool: CatalogTool, narrowing: Narrowing) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.tool.description + said(narrowing),
        input_schema=dict(narrowed_schema(tool.tool.input_schema, narrowing) if narrowing else tool.tool.input_schema),
        output_schema=dict(tool.tool.output_schema if tool.tool.told is None else tool.tool.told),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.tool.reads_only,
            destructive_hint=not tool.tool.reads_only,
            open_world_hint=True,
        ),
        _meta={META + "resource": tool.resource, META + "action": tool.action},
    )


def _cursor(start: int, documents: Snapshot) -> str:
    return base64.urlsafe_b64encode(f"{start}:{documents.digest[:16]}".encode()).decode()


def _start(cursor: str | None, documents: Snapshot) -> int:
    """Read a cursor; one of another set of documents would skip or repeat tools, so it is refused."""
    if cursor is None:
        return 0
    try:
        start, _, digest = base64.urlsafe_b64decode(cursor).decode().partition(":")
        if digest == documents.digest[:16] and start.isdecimal():
            return int(start)
    except (binascii.Error, ValueError):
        pass
    raise MCPError(types.INVALID_PARAMS, "This cursor is no longer valid; list the tools from the start.")
