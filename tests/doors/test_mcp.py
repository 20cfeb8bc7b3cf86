from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from broker.connector import errors
from tests.conftest import Serve
from tests.support.broker import ServedBroker
from tests.support.clients import CALL_ID, CODE, ERAS, Era, Wire, connected
from tests.support.documents import OTHER

TOOLS = ["notes_notes_misbehave", "notes_notes_read", "notes_notes_write"]


def test_an_agent_sees_only_tools_that_some_rule_could_permit(broker: ServedBroker) -> None:
    """architecture.md, names and answers: not what is denied, not what is unmentioned, not what is not built."""
    assert Wire(broker).tools() == TOOLS
    assert Wire(broker, broker.token(OTHER)).tools() == ["notes_notes_read"]


def test_a_tool_says_what_it_is(wire: Wire) -> None:
    """architecture.md: resource and action are data on the tool, never parsed out of the name."""
    read, write = (
        tool for tool in wire.ask("tools/list").result["tools"] if tool["name"].rpartition("_")[2] in {"read", "write"}
    )

    assert read["_meta"] == {"dev.envisionai.access/resource": "notes.notes", "dev.envisionai.access/action": "read"}
    assert read["inputSchema"]["additionalProperties"] is False
    assert read["outputSchema"]["type"] == "object"
    assert (read["annotations"]["readOnlyHint"], write["annotations"]["readOnlyHint"]) == (True, False)


def test_lists_are_private_to_the_caller(wire: Wire) -> None:
    """MCP 2026-07-28: a list that depends on who asks must not be cached for others."""
    result = wire.ask("tools/list").result

    assert (result["cacheScope"], result["ttlMs"]) == ("private", 0)


def test_lists_come_in_pages_that_join_without_gap_or_repeat(serve: Serve) -> None:
    """Issue 2, MCP: lists are deterministic and paginated."""
    wire = Wire(serve(caps={"list_page": 2}))

    first = wire.ask("tools/list").result
    second = wire.ask("tools/list", {"cursor": first["nextCursor"]}).result

    assert [tool["name"] for tool in first["tools"] + second["tools"]] == TOOLS
    assert "nextCursor" not in second


@pytest.mark.parametrize("cursor", ["", "x", "MDp4", "é", "LTE6", "A" * 10_000, "OTk5OTk5OTk5OTk5OTk5OTk5OTk6", "\x00"])
def test_a_cursor_that_was_never_given_is_refused(wire: Wire, cursor: str) -> None:
    """A cursor of another set of documents would skip or repeat tools."""
    assert wire.ask("tools/list", {"cursor": cursor}).error["code"] == -32602


@pytest.mark.parametrize("era", ERAS)
def test_an_answer_carries_its_content_twice_and_its_call_id(broker: ServedBroker, era: Era) -> None:
    """MCP server/tools: structured content, and the same as text for clients that know only that."""

    async def case() -> None:
        async with connected(broker, "streamable-http", era) as client:
            result = await client.call_tool("notes_notes_read", {"id": "n1"})

            assert result.structured_content == {"id": "n1", "text": "Revenue grew."}
            assert result.content[0].text == '{"id":"n1","text":"Revenue grew."}'  # type: ignore[union-attr]
            assert broker.outcome((result.meta or {})[CALL_ID])["status"] == "released"

    anyio.run(case)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("notes_notes_purge", {"id": "n1"}, "access_denied"),
        ("notes_notes_read", {}, "invalid_arguments"),
        ("notes_notes_archive", {"id": "n1"}, "action_not_built"),
        ("notes_notes_misbehave", {}, "upstream_busy"),
    ],
)
def test_a_refusal_is_a_result_that_an_agent_can_act_on(
    broker: ServedBroker, era: Era, tool: str, arguments: dict[str, Any], code: str
) -> None:
    """architecture.md: its code in the text and in `_meta`, never in `structuredContent`; lessons.md 12."""

    async def fail(_call: Any, _session: Any) -> Any:
        raise errors.UpstreamBusy

    async def case() -> None:
        broker.notes.behaves = fail
        async with connected(broker, "streamable-http", era) as client:
            result = await client.call_tool(tool, arguments)

            assert result.is_error
            assert result.structured_content is None
            assert result.content[0].text.endswith(f"[{code}]")  # type: ignore[union-attr]
            assert (result.meta or {})[CODE] == code
            assert broker.outcome((result.meta or {})[CALL_ID])["code"] == code

    anyio.run(case)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("tool", ["nope", "notes_secrets_read", "", "NOTES_NOTES_READ", "notes_notes_read "])
def test_an_unknown_tool_is_a_protocol_error(broker: ServedBroker, era: Era, tool: str) -> None:
    """architecture.md: -32602, and a resource that no policy mentions is answered as an unknown tool."""

    async def case() -> None:
        async with connected(broker, "streamable-http", era) as client:
            with pytest.raises(MCPError) as raised:
                await client.call_tool(tool, {"id": "n1"})

        assert raised.value.error.code == -32602
        assert raised.value.error.data["code"] == "unknown_tool"
        assert broker.outcome(raised.value.error.data["call_id"])["code"] == "unknown_tool"

    anyio.run(case)


def test_what_exists_and_what_does_not_are_told_apart_by_nothing(wire: Wire) -> None:
    """An agent learns of no tool that it may not know of, from no part of the answer."""
    hidden, absent = (wire.call(name, {"id": "n1"}) for name in ("notes_secrets_read", "notes_nothing_read"))

    for answer in (hidden, absent):
        answer.body["error"]["data"].pop("call_id")
        answer.body.pop("id")
    assert hidden.status == absent.status == 400
    assert hidden.body == absent.body


def test_a_refusal_is_short_however_long_the_arguments_are(wire: Wire) -> None:
    """Issue 2, MCP: clear errors; what does not fit the schema is quoted, not echoed whole."""
    answer = wire.call("notes_notes_read", {"id": ["x" * 10_000] * 20})

    assert answer.code == "invalid_arguments"
    assert len(answer.raw) < 3_000


@pytest.mark.parametrize("era", ERAS)
def test_progress_reaches_the_caller(broker: ServedBroker, era: Era) -> None:
    """architecture.md: `emit` takes progress as it comes, and the door passes it on."""
    seen: list[tuple[float, float | None]] = []

    async def slow(call: Any, _session: Any) -> Any:
        await call.emit(1, 2)
        await call.emit(2, None)
        return {"id": "n1"}

    async def told(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 - the client's
        seen.append((progress, total))

    async def case() -> None:
        broker.notes.behaves = slow
        async with connected(broker, "streamable-http", era) as client:
            await client.call_tool("notes_notes_misbehave", {}, progress_callback=told)

    anyio.run(case)

    assert sorted(seen) == [(1, 2), (2, None)]


def test_no_exception_of_the_door_itself_reaches_an_agent(
    broker: ServedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mcp.md §6.2: on the older wires the SDK tells `str(exc)`; nothing of ours gets that far, in either era."""

    def fail(*_: Any) -> Any:
        raise RuntimeError("SESAME-OPEN-SESAME")

    async def case(era: Era) -> None:
        async with connected(broker, "streamable-http", era) as client:
            for ask in (client.list_tools(), client.call_tool("notes_notes_read", {"id": "n1"})):
                with pytest.raises(MCPError) as raised:
                    await ask
                assert raised.value.error.data == {"code": "internal_error"}
                assert "SESAME" not in repr(raised.value.error)

    monkeypatch.setattr("broker.doors.mcp.server.caller_of", fail)
    for era in ERAS:
        anyio.run(case, era)
