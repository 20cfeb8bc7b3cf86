"""Resources, prompts, subscriptions and questions on the wire, with a server of one of everything behind."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
import pytest

from tests.support.broker import ServedBroker, until
from tests.support.clients import ERAS, Era, Wire, connected
from tests.support.documents import ANALYST, OTHER
from tests.support.mcp_servers import document, everything, find, over_tls, pin, write_set

pytestmark = [pytest.mark.slow, pytest.mark.anyio]
LETS = ["elicitation", "sampling", "roots", "logging"]
STATE = "test_input_required_result_request_state"
ELICITATION: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
YES = {"action": "accept", "content": {"ok": True}}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """Serve a broker whose analyst may do everything and whose other agent may use tools alone."""
    place = tmp_path_factory.mktemp("beside")
    with everything(place) as url:
        spec = over_tls(url, place, lets=LETS)
        written = write_set(place / "access", {"up": spec}, [{"resource": "up.*", "actions": ["*"]}])
        rules = [
            {"resource": "up.test_simple_text", "actions": ["call"]},
            {"resource": f"up.{STATE}", "actions": ["*"]},
        ]
        spec = {"identity": {"workload": OTHER}, "tools": rules}
        written.put("other.yaml", document("AgentPolicy", "other", spec))
        with ServedBroker(written, grant=False, find=find) as broker:
            pin(broker, "up")
            until(lambda: broker.parts.documents.current.catalog.find("up_test_simple_text"))
            yield broker


@pytest.fixture
def wire(broker: ServedBroker) -> Wire:
    """Let the analyst speak to it."""
    return Wire(broker)


def test_an_agent_lists_and_gets_what_its_policies_permit(broker: ServedBroker, wire: Wire) -> None:
    """Issue 6, `mcp`: resources are `NAME.resources` `read`, prompts `NAME.prompts` `get`, in the same trail."""
    other = Wire(broker, broker.token(OTHER))
    uri = "test://static-text"

    assert uri in [one["uri"] for one in wire.ask("resources/list").result["resources"]]
    assert other.ask("resources/list").result["resources"] == []
    assert other.ask("prompts/list").result["prompts"] == []
    read = wire.ask("resources/read", {"uri": uri}, Mcp_Name=uri)
    assert "static text" in read.result["contents"][0]["text"]
    story = broker.story(read.result["_meta"]["dev.envisionai.access/call_id"])
    assert story["requested"]["action"]["resource"] == "up.resources"
    assert other.ask("resources/read", {"uri": uri}, Mcp_Name=uri).error["code"] == -32602
    assert other.ask("prompts/get", {"name": "up_test_simple_prompt"}).error["code"] == -32602


def test_a_tool_behind_resources_is_not_listed(wire: Wire) -> None:
    """What stands behind resources and prompts is not offered twice."""
    assert not [name for name in wire.tools() if name in {"up_resources_read", "up_prompts_get"}]


def test_a_header_tells_nothing_of_a_tool_that_the_agent_may_not_know(broker: ServedBroker, wire: Wire) -> None:
    """MCP 2026-07-28: Mcp-Param headers must repeat the arguments; who may not know a tool learns nothing by them."""
    arguments, wrong = {"region": "north"}, {"Mcp_Param_Region": "south"}

    assert wire.call("up_test_x_mcp_header", arguments, **wrong).error["code"] == -32020
    assert wire.call("up_test_x_mcp_header", arguments, Mcp_Param_Region="north").result["content"]
    refused = Wire(broker, broker.token(OTHER)).call("up_test_x_mcp_header", arguments, **wrong)
    assert refused.error["data"]["code"] == "unknown_tool"


def first_round(wire: Wire, tool: str, arguments: Any = None) -> str:
    """Make the first call of two, and return the state that the client is given."""
    answered = wire.call(tool, arguments, meta=ELICITATION)
    assert answered.result["resultType"] == "input_required", answered.body
    return str(answered.result["requestState"])


def second_round(wire: Wire, tool: str, state: str, arguments: Any = None) -> Any:
    """Make the second."""
    more = {"inputResponses": {"confirm": YES}, "requestState": state}
    params = {"name": tool, "arguments": arguments or {}, **more}
    return wire.ask("tools/call", params, meta=ELICITATION)


def test_what_a_server_needs_of_a_client_takes_two_calls(broker: ServedBroker, wire: Wire) -> None:
    """MCP 2026-07-28, multi round-trip requests: each is decided and recorded as a call of its own."""
    tool = f"up_{STATE}"
    before = len(broker.records(kind="decided"))

    answered = second_round(wire, tool, first_round(wire, tool))

    assert answered.result["content"][0]["text"] == "state-ok"
    assert len(broker.records(kind="decided")) == before + 2


@pytest.mark.parametrize("theft", ["another agent", "another tool", "other arguments", "tampered"])
def test_a_state_is_of_no_use_but_to_its_own_call(broker: ServedBroker, wire: Wire, theft: str) -> None:
    """Issue 6, `mcp`: requestState is sealed, and bound to agent, tool and arguments."""
    tool = f"up_{STATE}"
    state = first_round(wire, tool)
    thief, arguments = wire, None
    if theft == "another agent":
        thief = Wire(broker, broker.token(OTHER))
    elif theft == "another tool":
        tool = "up_test_input_required_result_tampered_state"
    elif theft == "other arguments":
        arguments = {"more": "x"}
    else:
        state = state[:-8] + "AAAAAAA="

    refused = second_round(thief, tool, state, arguments)

    assert refused.code == "request_state_invalid"


def test_the_state_of_a_question_of_the_brokers_own_goes_to_no_server(wire: Wire) -> None:
    """asking.py: a client that repeats an approved call sends back what it was given; the call is as any other."""
    answered = second_round(wire, "up_test_simple_text", "aam:0197a3c2-0000-7000-8000-000000000000")

    assert answered.result["content"][0]["type"] == "text"


def test_a_client_that_cannot_be_asked_is_told_what_is_needed(wire: Wire) -> None:
    """MCP 2026-07-28: MissingRequiredClientCapability names what the client would have to declare."""
    refused = wire.call(f"up_{STATE}")

    assert refused.error["code"] == -32021
    assert refused.error["data"]["requiredCapabilities"] == {"elicitation": {}}
    assert refused.code == "client_cannot"


async def test_a_subscription_tells_of_changes_and_is_on_record(broker: ServedBroker) -> None:
    """Issue 6, `mcp`: a subscription is a call that lasts; unsubscribing ends it, and the trail says so."""
    uri = "test://watched-resource"
    told = anyio.Event()

    async def noted(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            told.set()

    async with connected(broker, "streamable-http", "legacy", message_handler=noted) as client:
        await anyio.to_thread.run_sync(until, lambda: listens(broker))
        await client.session.send_request(
            types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri)), types.EmptyResult
        )
        running = {call_id for call_id, _ in broker.open_calls()}
        assert len(running) == 1
        await client.call_tool("up_touch_watched", {})
        with anyio.fail_after(30):
            await told.wait()
        await client.session.send_request(
            types.UnsubscribeRequest(params=types.UnsubscribeRequestParams(uri=uri)), types.EmptyResult
        )
        assert not broker.open_calls()

    outcome = broker.outcome(running.pop())
    assert outcome["status"] == "released"
    assert outcome["asked_of_client"]["notifications/resources/updated"] >= 1


async def test_a_subscription_ends_with_the_rule_that_permitted_it(broker: ServedBroker) -> None:
    """0088: it is a call that lasts, and lasts no longer than it could begin; another that is permitted goes on."""
    rules = [{"resource": "up.*", "actions": ["*"]}]
    spec = {"identity": {"workload": ANALYST}, "tools": rules}
    watched = types.SubscribeRequest(params=types.SubscribeRequestParams(uri="test://watched-resource"))

    async with connected(broker, "streamable-http", "legacy") as client:
        await client.session.send_request(watched, types.EmptyResult)
        (running,) = {call_id for call_id, _ in broker.open_calls()}
        broker.await_(_look_for_the_denied, broker)
        assert broker.open_calls()

        rules[0]["actions"] = ["call", "read"]
        broker.written.put("policy.yaml", document("AgentPolicy", "analyst", spec))
        await anyio.to_thread.run_sync(until, lambda: not broker.open_calls())
        rules[0]["actions"] = ["*"]
        broker.written.put("policy.yaml", document("AgentPolicy", "analyst", spec))
        await anyio.to_thread.run_sync(until, lambda: Wire(broker).ask("prompts/list").result["prompts"])

    assert broker.outcome(running)["status"] == "released"


async def _look_for_the_denied(broker: ServedBroker) -> None:
    broker.parts.server.beside.subscriptions.end_denied()


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_learns_when_what_it_may_list_changes(broker: ServedBroker, era: Era) -> None:
    """Issue 6, `mcp`: lists are what is permitted; who may list less now is told so."""
    async with told_of_changes(broker, era) as told:
        rules: list[Any] = [{"resource": "up.*", "actions": ["call"]}]
        spec = {"identity": {"workload": ANALYST}, "tools": rules}
        broker.written.put("policy.yaml", document("AgentPolicy", "analyst", spec))
        with anyio.fail_after(30):
            seen = {await told.receive()}
            while seen != {"prompts", "resources"}:
                seen.add(await told.receive())
        rules[0]["actions"] = ["*"]
        broker.written.put("policy.yaml", document("AgentPolicy", "analyst", spec))
        until(lambda: Wire(broker).ask("prompts/list").result["prompts"])


def listens(broker: ServedBroker) -> bool:
    """Tell whether the newest session of the handshake era has the stream on which it is told of things."""
    sessions = list(broker.doors._sessions._server_instances.values())
    return bool(sessions) and "_GET_stream" in sessions[-1]._request_streams


@contextlib.asynccontextmanager
async def told_of_changes(broker: ServedBroker, era: Era) -> AsyncIterator[Any]:
    """Connect, and yield the lists, but tools, that are said to have changed."""
    tell, told = anyio.create_memory_object_stream[str](20)

    async def noted(message: Any) -> None:
        method = getattr(message, "method", "")
        if method.endswith("/list_changed") and "tools" not in method:
            tell.send_nowait(method.split("/")[1])

    async with tell, told, connected(broker, "streamable-http", era, message_handler=noted) as client:
        if era == "legacy":
            await anyio.to_thread.run_sync(until, lambda: listens(broker))
            yield told
            return
        listening = client.listen(prompts_list_changed=True, resources_list_changed=True)
        async with listening as events, anyio.create_task_group() as tasks:

            async def follow() -> None:
                async for event in events:
                    tell.send_nowait(type(event).__name__.removesuffix("ListChanged").lower())

            tasks.start_soon(follow)
            yield told
            tasks.cancel_scope.cancel()
