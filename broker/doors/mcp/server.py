"""Listing and calling tools: what MCP asks for, translated for the pipeline and back."""

import functools
import logging
from collections.abc import Callable, Mapping
from functools import partial
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
from broker.documents import Documents
from broker.doors.entrance import CALLING, Caller
from broker.doors.mcp import meta
from broker.doors.mcp.asking import asked, for_the_server
from broker.doors.mcp.beside import Beside, in_mcp
from broker.doors.mcp.dialogue import ClientDialogue, Following
from broker.doors.mcp.listeners import Listeners, Lists
from broker.doors.mcp.narrowed import narrowed_schema, said
from broker.doors.mcp.offers import Offers, anything
from broker.doors.mcp.paging import cursor, start
from broker.doors.mcp.refusals import META, as_result
from broker.errors import InternalError, Refusal
from broker.pipeline import Answer, Origin, Pipeline, Request
from broker.policy import Narrowing

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]

_INSTRUCTIONS = (
    "Each tool acts on an enterprise service under your own identity and policies. "
    "A refused call says why, with a code in square brackets, and what would be permitted instead."
)


_BESIDE = {"resources": "resource", "prompts": "prompt", "completions": "completion", "logging": "resource"}
"""Capabilities that depend on whether any connector stands behind them, and what it then offers."""
_PRIVATE = ("tools/list", "resources/list", "resources/templates/list", "prompts/list", "resources/read")


class _Sdk(Server[Any]):
    """The SDK's server, which tells clients of the handshake revisions that their lists may change."""

    def __init__(self, offered: Callable[[str], bool], *positional: Any, **named: Any) -> None:
        self._is_offered = offered
        super().__init__(*positional, **named)

    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *more: Any, **others: Any
    ) -> InitializationOptions:
        """Return what is said in a handshake: the SDK asks without options on some transports."""
        options = notification_options or NotificationOptions(
            prompts_changed=True, resources_changed=True, tools_changed=True
        )
        return super().create_initialization_options(options, *more, **others)

    def get_capabilities(self, *options: Any, **named: Any) -> types.ServerCapabilities:
        """Return what is served: of what no connector stands behind, nothing is said."""
        said = super().get_capabilities(*options, **named)
        if said.resources is not None and not self._is_offered("subscription"):
            said.resources.subscribe = False
        return said.model_copy(update={name: None for name, kind in _BESIDE.items() if not self._is_offered(kind)})


class McpServer:
    """The SDK's low-level server over the pipeline; one serves every transport and both protocol eras."""

    def __init__(self, documents: Documents, pipeline: Pipeline) -> None:
        self._documents = documents
        self._pipeline = pipeline
        self.listeners = Listeners(self._lists)
        self.beside = beside = Beside(documents, caller_of, self._made)
        self.sdk: Server[Any] = _Sdk(
            lambda serves: anything(documents.current, serves),
            "agent-access-manager",
            version=broker.__version__,
            title="Agent Access Manager",
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=beside.list_resources,
            on_list_resource_templates=beside.list_templates,
            on_read_resource=beside.read,
            on_subscribe_resource=beside.subscribe,
            on_unsubscribe_resource=beside.unsubscribe,
            on_list_prompts=beside.list_prompts,
            on_get_prompt=beside.get,
            on_completion=beside.complete,
            on_subscriptions_listen=self._listen,
            cache_hints={method: CacheHint(ttl_ms=0, scope="private") for method in _PRIVATE},
            get_tool_input_schema=self._headers_schema,
        )
        # not in the constructor, which warns of what is deprecated
        self.sdk.add_request_handler("logging/setLevel", types.SetLevelRequestParams, beside.set_level)
        self.sdk.add_notification_handler("notifications/initialized", types.NotificationParams, self._initialized)
        self.sdk.middleware.append(_without_exceptions)  # behind the SDK's own, which writes them into spans

    async def _list_tools(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        documents = self._documents.current
        workload = caller_of(context).identity.spiffe_id
        begin = start(params.cursor if params else None, documents)
        stop = begin + documents.broker.caps.list_page
        return types.ListToolsResult(
            tools=self._listed(workload, begin, stop),
            next_cursor=cursor(stop, documents) if stop < self._length(workload) else None,
        )

    def _listed(self, workload: str, begin: int = 0, stop: int | None = None) -> list[types.Tool]:
        """Return what an agent may list now, or a page of it."""
        if self._in_few(workload):
            return list(meta.DEFINITIONS[begin:stop])
        return [self._defined(workload, tool) for tool in self._visible(workload)[begin:stop]]

    def _length(self, workload: str) -> int:
        return len(meta.DEFINITIONS if self._in_few(workload) else self._visible(workload))

    def _in_few(self, workload: str) -> bool:
        """Tell whether an agent is shown three tools in the place of all."""
        agent = self._documents.current.registry.agents.get(workload)
        return agent is not None and agent.present == "meta"

    def _defined(self, workload: str, tool: CatalogTool) -> types.Tool:
        policies = self._documents.current.policies_of(workload)
        return _definition(tool, policies.narrowing(tool.resource, tool.action))

    def _lists(self, workload: str) -> Lists:
        offers = Offers(self._documents.current, workload)
        resources = [*offers.resources(), *offers.templates()]
        return {"tools": self._listed(workload), "prompts": offers.prompts(), "resources": resources}

    def _visible(self, workload: str) -> list[CatalogTool]:
        return [one for one in self._documents.current.visible.get(workload, ()) if one.tool.serves == "tool"]

    def _headers_schema(self, name: str) -> Mapping[str, Any] | None:
        """Return the schema that says which arguments a request's headers repeat: of servers' own tools alone."""
        documents, caller = self._documents.current, CALLING.get()
        tool = documents.catalog.find(name)
        if tool is None or not tool.tool.in_mcp or caller is None:
            return None
        visible = documents.visible.get(caller.identity.spiffe_id, ())  # of others, nothing is told, not even so
        return tool.tool.input_schema if tool in visible else None

    async def _listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        workload, owner = caller_of(context).identity.spiffe_id, object()
        try:
            for uri in params.notifications.resource_subscriptions or ():
                await self.beside.follow(owner, uri, context, partial(self.listeners.updated, workload))
            return await self.listeners.listen(workload, context, params)
        finally:
            self.beside.subscriptions.end_all(owner)

    async def _initialized(self, context: Context, _params: types.NotificationParams) -> None:
        connection = context.session._connection  # noqa: SLF001 - the SDK shows what outlives a message nowhere else
        self.listeners.joined(caller_of(context).identity.spiffe_id, connection)

    async def _call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        name, workload = params.name, caller_of(context).identity.spiffe_id
        arguments: Mapping[str, Any] = params.arguments or {}
        try:
            if self._in_few(workload) and name in {meta.SEARCH, meta.DESCRIBE}:
                return meta.told(name, arguments, self._visible(workload), partial(self._defined, workload))
            if self._in_few(workload) and name == meta.CALL:
                name, arguments = meta.called(arguments)
            answer = await self._made(context, params, name, arguments)
        except Refusal as refusal:
            return as_result(refusal)
        if isinstance(answer, types.InputRequiredResult):
            return answer
        if answer.in_mcp:
            result: types.CallToolResult | types.InputRequiredResult = in_mcp(answer, types.CallToolResult)
            return result
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=answer.text.decode())],
            structured_content=msgspec.json.decode(answer.text),
            _meta={META + "call_id": answer.call_id},
        )

    async def _made(
        self,
        context: Context,
        params: Any,
        tool: str,
        arguments: Mapping[str, Any],
        following: Following | None = None,
    ) -> Answer | types.InputRequiredResult:
        """Make a call through the pipeline; return what a person must do first, where the client can show it to them.

        Raises the `Refusal`, which is logged.
        """

        async def emit(done: int, total: int | None) -> None:
            await context.session.report_progress(done, total)

        caller = caller_of(context)
        given = getattr(params, "input_responses", None), getattr(params, "request_state", None)
        answers, state = for_the_server(*given)
        dialogue = following or ClientDialogue(context, answers, state)
        request = Request(caller.identity, tool, arguments, _origin(context, caller), dialogue)
        if following is not None:
            following.permitted = partial(self._pipeline.permits, request)
        try:
            return await self._pipeline.call(request, emit)
        except Refusal as refusal:
            logger.info("call refused", extra={"code": refusal.code, "call_id": refusal.call_id})
            question = asked(refusal, context, self._documents.current.broker.approvals.url)
            if question is None:
                raise
            return question


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
    schema = narrowed_schema(tool.tool.input_schema, narrowing) if narrowing else tool.tool.input_schema
    own = {
        "outputSchema": None if tool.tool.in_mcp else dict(tool.tool.told or tool.tool.output_schema),
        "annotations": {
            "readOnlyHint": tool.tool.reads_only,
            "destructiveHint": not tool.tool.reads_only,
            "openWorldHint": True,
        },
    }
    return types.Tool.model_validate(
        {
            **own,
            **tool.tool.definition,
            "name": tool.name,
            "description": tool.tool.description + said(narrowing),
            "inputSchema": dict(schema),
            "_meta": {META + "resource": tool.resource, META + "action": tool.action},
        }
    )
