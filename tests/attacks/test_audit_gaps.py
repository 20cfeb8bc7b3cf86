import uuid
from typing import Any

import anyio
import pytest

from tests.support.broker import ServedBroker
from tests.support.clients import CALL_ID, ERAS, TRANSPORTS, Era, Lines, Transport, Wire, connected, request
from tests.support.documents import ANALYST
from tests.support.notes import NotesService


def traceparent() -> tuple[str, str]:
    """Return a new trace id, and a `traceparent` of it."""
    trace = uuid.uuid4().hex
    return trace, f"00-{trace}-00f067aa0ba902b7-01"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_chained_call_is_recorded(
    broker: ServedBroker, notes_service: NotesService, transport: Transport, era: Era
) -> None:
    """lessons.md 13: only the first tool call of a chain was logged. Here every one is, as part of its run."""
    trace, parent = traceparent()
    mark = f"chain-{transport}-{era}"

    async def case() -> list[str]:
        ids = []
        async with connected(broker, transport, era) as client:
            for number in range(5):
                meta: Any = {"traceparent": parent}
                result = await client.call_tool("notes_notes_write", {"id": f"{mark}-{number}"}, meta=meta)
                ids.append((result.meta or {})[CALL_ID])
        return ids

    ids = anyio.run(case)

    run = [record["call_id"] for record in broker.records(kind="requested") if record["run_id"] == trace]
    assert run == ids
    assert [effect for effect in notes_service.effects if effect.startswith(mark)] == [f"{mark}-{n}" for n in range(5)]
    for call_id in ids:
        story = broker.story(call_id)
        assert list(story) == ["requested", "decided", "finished"]
        assert story["requested"]["origin"]["transport"] == transport


def test_every_concurrent_call_is_recorded_whatever_becomes_of_it(
    broker: ServedBroker, notes_service: NotesService
) -> None:
    """audit.md C5: no effect without a durable decision before it, and none that the trail does not know."""
    trace, parent = traceparent()
    asked = [
        ("notes_notes_write", {"id": "many"}),
        ("notes_notes_purge", {"id": "many"}),
        ("notes_notes_read", {}),
        ("nope", {}),
    ]
    before = notes_service.effects.count("many")

    async def case() -> None:
        async def caller() -> None:
            wire = Wire(broker)
            for tool, arguments in asked:
                await anyio.to_thread.run_sync(lambda: wire.call(tool, arguments, meta={"traceparent": parent}))  # noqa: B023

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(caller)

    anyio.run(case)

    ids = {record["call_id"] for record in broker.records(kind="requested") if record["run_id"] == trace}
    outcomes = [record["outcome"] for record in broker.records(kind="finished") if record["call_id"] in ids]
    codes = [outcome["code"] for outcome in outcomes]
    assert len(ids) == len(outcomes) == 32
    assert {code: codes.count(code) for code in codes} == {
        None: 8,
        "access_denied": 8,
        "invalid_arguments": 8,
        "unknown_tool": 8,
    }
    assert notes_service.effects.count("many") - before == 8
    assert broker.verified().holds


def test_an_agent_cannot_forge_a_place_in_the_trail(broker: ServedBroker) -> None:
    """What an agent sends is data in a record, never a record: not by newlines, not by keys that look like ours."""
    hostile = 'x","kind":"finished","seq":0}\n{"call_id":"' + "\x00\x1b[2J"
    before = len(broker.records())

    with Lines(broker.agents_socket) as lines:
        asked = request("tools/call", {"name": hostile, "arguments": {"id": hostile}})
        asked["params"]["_meta"] = {**asked["params"]["_meta"], "traceparent": hostile, "prev_hash": "0" * 64}
        lines.say(asked)
        call_id = lines.next()["error"]["data"]["call_id"]

    records = broker.records()
    assert len(records) == before + 2
    assert broker.story(call_id)["requested"]["action"]["tool"] == hostile
    assert broker.verified().holds


def test_listing_is_no_call_and_a_message_without_an_effect_leaves_no_record(broker: ServedBroker) -> None:
    """architecture.md, names and answers: listing is not a trail record."""
    before = len(broker.records())

    with Lines(broker.agents_socket) as lines:
        for method in ("tools/list", "server/discover", "resources/list", "prompts/list", "nothing/known"):
            lines.ask(method)

    assert len(broker.records()) == before


def test_a_run_is_one_agents_own(broker: ServedBroker) -> None:
    """glossary: a run is the calls of one agent that share a trace id; the id alone joins nobody else's calls."""
    trace, parent = traceparent()

    for workload in (ANALYST, "spiffe://prod/agent/other"):
        Wire(broker, broker.token(workload)).call("notes_notes_read", {"id": "n1"}, meta={"traceparent": parent})

    run = [record for record in broker.records(kind="requested") if record["run_id"] == trace]
    assert [record["identity"]["spiffe_id"] for record in run] == [ANALYST, "spiffe://prod/agent/other"]
