"""An MCP server with one of everything, in both protocol eras: what the official conformance suite asks a server for.

`python -m tests.support.everything http CERTIFICATE KEY` serves it over TLS on a free port of loopback, which it
prints; `sse` the older transport, and `stdio` on its own pipes. The names are those of the suite.
"""

import asyncio
import base64
import json
import socket
import sys
import warnings
from typing import Annotated, Any

import mcp_types as types
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
LITTLE = 0.03  # seconds between two things that are told

server = MCPServer("everything", version="1.0.0")
Asked = types.InputRequiredResult


def text(words: str) -> types.CallToolResult:
    """Return words as a tool's result."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=words)])


def elicitation(message: str, **properties: str) -> types.ElicitRequest:
    """Return a question for a person."""
    schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}
    params = types.ElicitRequestFormParams(message=message, requested_schema={**schema, "required": list(properties)})
    return types.ElicitRequest(params=params)


def sampling(words: str) -> types.CreateMessageRequest:
    """Return a question for a model."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=words))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=100))


# Contents


@server.tool()
def test_simple_text() -> types.CallToolResult:
    """Return a text."""
    return text("This is a simple text response for testing.")


@server.tool()
def test_image_content() -> types.CallToolResult:
    """Return an image."""
    return types.CallToolResult(content=[types.ImageContent(type="image", data=PIXEL, mime_type="image/png")])


@server.tool()
def test_audio_content() -> types.CallToolResult:
    """Return a sound."""
    return types.CallToolResult(content=[types.AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")])


def embedded(uri: str, kind: str, words: str) -> types.EmbeddedResource:
    """Return a resource to stand in a result."""
    contents = types.TextResourceContents(uri=uri, mime_type=kind, text=words)
    return types.EmbeddedResource(type="resource", resource=contents)


@server.tool()
def test_embedded_resource() -> types.CallToolResult:
    """Return a resource."""
    return types.CallToolResult(content=[embedded("test://embedded-resource", "text/plain", "An embedded resource.")])


@server.tool()
def test_multiple_content_types() -> types.CallToolResult:
    """Return a text, an image and a resource."""
    return types.CallToolResult(
        content=[
            types.TextContent(type="text", text="Multiple content types test:"),
            types.ImageContent(type="image", data=PIXEL, mime_type="image/png"),
            embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
        ]
    )


@server.tool()
def test_error_handling() -> types.CallToolResult:
    """Fail, in a result that says so."""
    return text("This tool intentionally returns an error for testing").model_copy(update={"is_error": True})


Region = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]


@server.tool()
def test_x_mcp_header(region: Region) -> types.CallToolResult:
    """Take an argument that is repeated in a header."""
    return text(f"region={region}")


@server.tool()
def json_schema_2020_12_tool(name: str, address: dict[str, Any]) -> types.CallToolResult:
    """Take what a schema with much of JSON Schema describes."""
    return text(f"{name} lives in {address.get('city')}")


RICH = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "address",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}, "phone": {"type": "string"}},
    "allOf": [{"anyOf": [{"required": ["name"]}, {"required": ["phone"]}]}],
    "if": {"required": ["phone"]},
    "then": {"required": ["name"]},
    "else": {"required": ["name"]},
    "additionalProperties": False,
}
server._tool_manager._tools["json_schema_2020_12_tool"].parameters = RICH


# What is told and asked while a tool runs


@server.tool()
async def test_tool_with_logging(ctx: Context) -> types.CallToolResult:
    """Log three messages."""
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(words)
        await asyncio.sleep(LITTLE)
    return text("Tool with logging executed successfully")


@server.tool()
async def test_logging_tool(ctx: Context) -> types.CallToolResult:
    """Log, if it is asked for."""
    await ctx.info("A message.")
    return text("logged")


@server.tool()
async def test_tool_with_progress(ctx: Context) -> types.CallToolResult:
    """Tell how far it is."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(LITTLE)
    return text("done")


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> types.CallToolResult:
    """Ask the client's model, while the call runs."""
    result = await ctx.session.send_request(sampling(prompt), types.CreateMessageResult, metadata=related(ctx))
    return text(f"LLM response: {result.content.text if result.content.type == 'text' else ''}")


def related(ctx: Context) -> Any:
    """Return what sends a question on the stream of the request that it is about."""
    from mcp.shared.message import ServerMessageMetadata  # noqa: PLC0415 - nothing else here needs it

    return ServerMessageMetadata(related_request_id=ctx.request_id)


class Person(BaseModel):
    """What a person is asked for."""

    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> types.CallToolResult:
    """Ask the client's user, while the call runs."""
    result = await ctx.elicit(message=message, schema=Person)
    content = result.data.model_dump_json() if result.action == "accept" else "{}"
    return text(f"User response: action={result.action}, content={content}")


class Defaults(BaseModel):
    """SEP-1034: a default for every kind of answer."""

    name: str = Field(default="John Doe")
    age: int = Field(default=30)
    score: float = Field(default=95.5)
    status: str = Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = Field(default=True)


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> types.CallToolResult:
    """Ask with defaults."""
    result = await ctx.elicit(message="Please provide user information", schema=Defaults)
    content = result.data.model_dump_json() if result.action == "accept" else "{}"
    return text(f"Elicitation completed: action={result.action}, content={content}")


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> types.CallToolResult:
    """Ask for every kind of choice."""
    options = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    params = types.ElicitRequestFormParams(
        message="Please select", requested_schema={"type": "object", "properties": properties}
    )
    result = await ctx.session.send_request(
        types.ElicitRequest(params=params), types.ElicitResult, metadata=related(ctx)
    )
    return text(f"Elicitation completed: action={result.action}, content={json.dumps(result.content)}")


@server.tool()
async def test_reconnection(ctx: Context) -> types.CallToolResult:
    """End the stream in the middle, so that the client must take it up again (SEP-1699)."""
    await ctx.close_sse_stream()
    await asyncio.sleep(0.2)
    return text("Reconnection test completed")


# What the client is asked by ending the call (SEP-2322)


def answer(ctx: Context, name: str) -> Any:
    """Return what the client has answered, or None."""
    return (ctx.input_responses or {}).get(name)


@server.tool()
def test_input_required_result_elicitation(ctx: Context) -> types.CallToolResult | Asked:
    """Ask a person's name."""
    given = answer(ctx, "user_name")
    if not isinstance(given, types.ElicitResult):
        return Asked(input_requests={"user_name": elicitation("What is your name?", name="string")})
    return text(f"Hello, {(given.content or {}).get('name')}!")


@server.tool()
def test_input_required_result_sampling(ctx: Context) -> types.CallToolResult | Asked:
    """Ask a model."""
    if answer(ctx, "capital_question") is None:
        return Asked(input_requests={"capital_question": sampling("What is the capital of France?")})
    return text("The model has answered.")


@server.tool()
def test_input_required_result_list_roots(ctx: Context) -> types.CallToolResult | Asked:
    """Ask for the client's roots."""
    if answer(ctx, "client_roots") is None:
        return Asked(input_requests={"client_roots": types.ListRootsRequest()})
    return text("The client has roots.")


@server.tool()
def test_input_required_result_request_state(ctx: Context) -> types.CallToolResult | Asked:
    """Keep a state between two rounds."""
    if ctx.request_state != "round-1" or answer(ctx, "confirm") is None:
        return Asked(input_requests={"confirm": elicitation("Please confirm", ok="boolean")}, request_state="round-1")
    return text("state-ok")


@server.tool()
def test_input_required_result_tampered_state(ctx: Context) -> types.CallToolResult | Asked:
    """Keep a state that must come back as it was."""
    return test_input_required_result_request_state(ctx)


@server.tool()
def test_input_required_result_multiple_inputs(ctx: Context) -> types.CallToolResult | Asked:
    """Ask for three things at once."""
    names = ("user_name", "greeting", "client_roots")
    if any(answer(ctx, name) is None for name in names):
        questions = (
            elicitation("What is your name?", name="string"),
            sampling("Generate a greeting"),
            types.ListRootsRequest(),
        )
        return Asked(input_requests=dict(zip(names, questions, strict=True)), request_state="all")
    return text("All have been answered.")


@server.tool()
def test_input_required_result_multi_round(ctx: Context) -> types.CallToolResult | Asked:
    """Ask twice, one after the other."""
    if ctx.request_state is None:
        return Asked(input_requests={"step1": elicitation("Step 1: your name?", name="string")}, request_state="one")
    if ctx.request_state == "one":
        return Asked(input_requests={"step2": elicitation("Step 2: a colour?", color="string")}, request_state="two")
    return text("Both have been answered.")


@server.tool()
def test_input_required_result_capabilities(ctx: Context) -> types.CallToolResult | Asked:
    """Ask for nothing but what the client can do."""
    can = ctx.client_capabilities or types.ClientCapabilities()
    questions: dict[str, Any] = {}
    if can.elicitation is not None:
        questions["user_name"] = elicitation("What is your name?", name="string")
    if can.sampling is not None:
        questions["greeting"] = sampling("Generate a greeting")
    return Asked(input_requests=questions) if questions else text("nothing to ask")


@server.tool()
def test_missing_capability(ctx: Context) -> types.CallToolResult:
    """Refuse a client that has no model."""
    if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
        needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "Sampling is needed.", needed)
    return text("sampled")


@server.tool()
def test_streaming_elicitation(ctx: Context) -> types.CallToolResult | Asked:
    """Ask by ending the call, and never on its stream."""
    return test_input_required_result_elicitation(ctx)


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> types.CallToolResult:
    """Say that the list of tools has changed."""
    await ctx.notify_tools_changed()
    return text("told")


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> types.CallToolResult:
    """Say that the list of prompts has changed."""
    await ctx.notify_prompts_changed()
    return text("told")


@server.tool()
async def touch_watched(ctx: Context) -> types.CallToolResult:
    """Say to all who have subscribed that the watched resource has changed."""
    await ctx.notify_resource_updated("test://watched-resource")
    for session in SUBSCRIBED:
        await session.send_resource_updated("test://watched-resource")
    return text("touched")


# Resources


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """Return a text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """Return an image."""
    return base64.b64decode(PIXEL)


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:  # noqa: A002 - the suite's name of it
    """Return what a template describes."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.resource("test://watched-resource", mime_type="text/plain")
def watched() -> str:
    """Return what can be watched."""
    return "Watched resource content"


# Prompts


def says(words: str) -> types.PromptMessage:
    """Return one message of a prompt."""
    return types.PromptMessage(role="user", content=types.TextContent(type="text", text=words))


@server.prompt()
def test_simple_prompt() -> Any:
    """Take no argument."""
    return [says("This is a simple prompt for testing.").model_dump(by_alias=True, mode="json", exclude_none=True)]


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> Any:
    """Take two arguments."""
    words = f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"
    return [says(words).model_dump(by_alias=True, mode="json", exclude_none=True)]


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> Any:  # noqa: N803 - the suite's name of it
    """Hold a resource."""
    resource = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    first = types.PromptMessage(role="user", content=resource)
    second = says("Please process the embedded resource above.")
    return [one.model_dump(by_alias=True, mode="json", exclude_none=True) for one in (first, second)]


@server.prompt()
def test_prompt_with_image() -> Any:
    """Hold an image."""
    image = types.PromptMessage(
        role="user", content=types.ImageContent(type="image", data=PIXEL, mime_type="image/png")
    )
    second = says("Please analyze the image above.")
    return [one.model_dump(by_alias=True, mode="json", exclude_none=True) for one in (image, second)]


@server.prompt()
def test_input_required_result_prompt(ctx: Context) -> Any:
    """Ask a person first."""
    given = answer(ctx, "user_context")
    if not isinstance(given, types.ElicitResult):
        question = elicitation("What context should the prompt use?", context="string")
        return Asked(input_requests={"user_context": question})
    return [says(f"In the context of {(given.content or {}).get('context')}.").model_dump(by_alias=True, mode="json")]


@server.completion()  # type: ignore[no-untyped-call, untyped-decorator] # the SDK's own
async def complete(_ref: Any, argument: types.CompletionArgument, _context: Any) -> types.Completion:
    """Suggest what begins alike."""
    return types.Completion(values=[f"{argument.value}-completed"], total=1, has_more=False)


# What the handshake era has besides


SUBSCRIBED: set[Any] = set()


async def accepted(_context: Any, _params: Any) -> types.EmptyResult:
    """Take a log level, or that a subscription is over."""
    return types.EmptyResult()


async def subscribed(context: Any, _params: Any) -> types.EmptyResult:
    """Take a subscription."""
    SUBSCRIBED.add(context.session)
    return types.EmptyResult()


low = server._lowlevel_server
low.add_request_handler("logging/setLevel", types.SetLevelRequestParams, accepted)
low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, subscribed)
low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, accepted)


class Kept(EventStore):
    """Keeps events, so that a stream can be taken up again."""

    def __init__(self) -> None:
        self._events: list[tuple[str, Any]] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        """Keep one."""
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send again what came after."""
        place = int(last_event_id)
        stream = self._events[place - 1][0]
        for number, (other, message) in enumerate(self._events[place:], place + 1):
            if other == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def main(how: str, *files: str) -> None:
    """Serve."""
    warnings.simplefilter("ignore")  # of what the SDK deprecates
    if how == "stdio":
        server.run("stdio")
        return
    app = server.sse_app() if how == "sse" else server.streamable_http_app(event_store=Kept(), retry_interval=100)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # before anybody is told of it
    certificate, key = files
    config = uvicorn.Config(app, log_level="error", ssl_certfile=certificate, ssl_keyfile=key)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main(*sys.argv[1:])
