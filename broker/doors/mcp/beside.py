"""Resources, prompts, completion and logging: listed from what is pinned, read and got through the pipeline."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types
import msgspec
from mcp.server import ServerRequestContext
from pydantic import BaseModel

from broker.documents import Documents
from broker.doors.entrance import Caller
from broker.doors.mcp.dialogue import Following, set_level
from broker.doors.mcp.offers import Offers
from broker.doors.mcp.paging import following, page
from broker.doors.mcp.refusals import META, as_plain_error
from broker.doors.mcp.subscriptions import Subscriptions
from broker.errors import Refusal
from broker.pipeline import Answer

Context = ServerRequestContext[Any, Any]
Made = Callable[..., Awaitable[Answer | types.InputRequiredResult]]
"""Makes a call through the pipeline: of the context, the params, the tool's name and its arguments."""


class Beside:
    """What MCP has beside tools."""

    def __init__(self, documents: Documents, caller_of: Callable[[Context], Caller], made: Made) -> None:
        self._documents = documents
        self._caller_of = caller_of
        self._made = made
        self.subscriptions = Subscriptions()

    async def list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """List the resources that the agent may read."""
        documents, found = self._documents.current, self._offers(context).resources()
        resources = [types.Resource.model_validate(dict(one)) for one in page(found, params, documents)]
        return types.ListResourcesResult(resources=resources, next_cursor=following(len(found), params, documents))

    async def list_templates(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """List the templates of resources that the agent may read."""
        documents, found = self._documents.current, self._offers(context).templates()
        templates = [types.ResourceTemplate.model_validate(dict(one)) for one in page(found, params, documents)]
        cursor = following(len(found), params, documents)
        return types.ListResourceTemplatesResult(resource_templates=templates, next_cursor=cursor)

    async def list_prompts(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """List the prompts that the agent may get."""
        documents, found = self._documents.current, self._offers(context).prompts()
        prompts = [types.Prompt.model_validate(dict(one)) for one in page(found, params, documents)]
        return types.ListPromptsResult(prompts=prompts, next_cursor=following(len(found), params, documents))

    async def read(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | types.InputRequiredResult:
        """Read a resource."""
        tool = self._found(context, lambda offers: offers.reader(params.uri))
        result: types.ReadResourceResult | types.InputRequiredResult
        arguments = {"uri": params.uri}
        result = await self._result(context, params, tool.name, arguments, types.ReadResourceResult, uri=params.uri)
        return result

    async def subscribe(self, context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Subscribe a session of the handshake era to a resource."""
        connection = context.session._connection  # noqa: SLF001 - the SDK shows what outlives a message nowhere else
        connection.exit_stack.callback(self.subscriptions.end_all, connection)
        await self.follow(connection, params.uri, context, connection.send_resource_updated)
        return types.EmptyResult()

    async def unsubscribe(self, context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """End a session's subscription to a resource."""
        await self.subscriptions.end(context.session._connection, params.uri)  # noqa: SLF001 - the same
        return types.EmptyResult()

    async def follow(self, owner: object, uri: str, context: Context, tell: Callable[[str], Awaitable[None]]) -> None:
        """Subscribe an owner to a resource; raises the protocol error that says why not."""
        tool = self._found(context, lambda offers: offers.subscriber(uri))

        async def call(following: Following) -> object:
            return await self._made(context, None, tool.name, {"uri": uri}, following)

        try:
            await self.subscriptions.begin(owner, uri, context, tell, call)
        except Refusal as refusal:
            raise as_plain_error(refusal, context.protocol_version, uri=uri) from None

    async def get(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        """Get a prompt."""
        tool, name = self._found(context, lambda offers: offers.prompt(params.name))
        arguments = {"name": name, **({} if params.arguments is None else {"arguments": params.arguments})}
        result: types.GetPromptResult | types.InputRequiredResult
        result = await self._result(context, params, tool.name, arguments, types.GetPromptResult)
        return result

    async def complete(self, context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        """Complete an argument of a prompt, or of a resource's template."""

        def found(offers: Offers) -> tuple[str, Mapping[str, Any]]:
            if isinstance(params.ref, types.PromptReference):
                tool, name = offers.prompt(params.ref.name)
                return offers.completer(tool).name, {"type": "ref/prompt", "name": name}
            tool = offers.template(params.ref.uri)
            return offers.completer(tool).name, {"type": "ref/resource", "uri": params.ref.uri}

        name, ref = self._found(context, found)
        arguments = {"ref": ref, "argument": params.argument.model_dump(mode="json", by_alias=True)}
        if params.context is not None:
            arguments["context"] = params.context.model_dump(mode="json", by_alias=True, exclude_none=True)
        result: types.CompleteResult = await self._result(context, params, name, arguments, types.CompleteResult)
        return result

    async def set_level(self, context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        """Note from which level on a client of the handshake era wants log messages."""
        set_level(context, params.level)
        return types.EmptyResult()

    def _offers(self, context: Context) -> Offers:
        return Offers(self._documents.current, self._caller_of(context).identity.spiffe_id)

    def _found(self, context: Context, find: Callable[[Offers], Any]) -> Any:
        try:
            return find(self._offers(context))
        except Refusal as refusal:
            raise as_plain_error(refusal, context.protocol_version) from None

    async def _result(
        self,
        context: Context,
        params: Any,
        tool: str,
        arguments: Mapping[str, Any],
        result: type[BaseModel],
        **about: str,
    ) -> Any:
        try:
            answer = await self._made(context, params, tool, arguments)
        except Refusal as refusal:
            raise as_plain_error(refusal, context.protocol_version, **about) from None
        if isinstance(answer, types.InputRequiredResult):
            return answer
        return in_mcp(answer, result)


def in_mcp(answer: Answer, result: type[BaseModel]) -> Any:
    """Return an answer that is a result of MCP's as one of the SDK's; of a call that needs more, what it needs."""
    said = {**msgspec.json.decode(answer.text), "_meta": {META + "call_id": answer.call_id}}
    return (types.InputRequiredResult if said.get("resultType") == "input_required" else result).model_validate(said)
