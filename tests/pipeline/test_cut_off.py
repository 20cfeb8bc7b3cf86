import asyncio
import concurrent.futures
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from broker.connector.blocking import run_blocking
from broker.identity import Registry
from tests.support.broker import Line, locked
from tests.support.notes import Notes, NotesService, read, write

InLine = Callable[[Callable[[Line], Awaitable[None]]], None]


async def cut(calling: "asyncio.Task[Any]") -> None:
    """Cancel a call, and see that it ends as one that was cancelled."""
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def recorded(line: Line, count: int = 1) -> list[dict[str, Any]]:
    """Return the outcomes of the calls, once all that was submitted is on disk."""
    await line.parts.recorder.note("mark")
    outcomes = [record["outcome"] for record in line.records(kind="finished")]
    assert len(outcomes) == count
    assert line.open_calls() == []
    assert line.parts.recorder.running == 0
    assert line.parts.slots.running == 0
    return outcomes


def test_a_call_cut_while_its_intent_is_written_is_cancelled(in_line: InLine, notes_service: NotesService) -> None:
    """architecture.md: *finished* is enqueued whatever ends the call; nothing was sent, so it was cancelled."""
    before = len(notes_service.effects)

    async def case(line: Line) -> None:
        with locked(line.database):
            calling = asyncio.create_task(line.call("notes_notes_write", {"id": "cut early"}))
            await asyncio.sleep(0.05)
            await cut(calling)

        (outcome,) = await recorded(line)
        assert outcome["status"] == "cancelled"
        assert [record["kind"] for record in line.records()[-4:]] == ["requested", "decided", "finished", "mark"]

    in_line(case)

    assert len(notes_service.effects) == before


def test_a_call_cut_before_anything_was_sent_is_cancelled(in_line: InLine, notes: Notes) -> None:
    """Issue 2, MCP: cancelling is recorded as what it is."""

    async def case(line: Line) -> None:
        reached = asyncio.Event()

        async def stay(_call: Any, _session: Any) -> Any:
            reached.set()
            await asyncio.Event().wait()

        notes.behaves = stay
        calling = asyncio.create_task(line.call("notes_notes_misbehave", {"id": "n1"}))
        await reached.wait()
        await cut(calling)

        (outcome,) = await recorded(line)
        assert outcome["status"] == "cancelled"

    in_line(case)


def test_a_call_cut_after_its_request_was_sent_is_of_unknown_outcome(
    in_line: InLine, notes_service: NotesService
) -> None:
    """architecture.md: it is `outcome_unknown`, never "cancelled"; and the request itself is cut."""

    async def case(line: Line) -> None:
        with notes_service.holding():
            calling = asyncio.create_task(line.call("notes_notes_write", {"id": "cut late"}))
            await anyio.to_thread.run_sync(notes_service.arrived.get)
            await cut(calling)

            assert await anyio.to_thread.run_sync(notes_service.left.wait, 60)

        (outcome,) = await recorded(line)
        assert outcome["status"] == "outcome_unknown"

    in_line(case)

    assert "cut late" in notes_service.effects


def test_a_blocking_client_that_is_cut_is_no_failure_of_the_broker(
    in_line: InLine, notes: Notes, notes_service: NotesService
) -> None:
    """A worker thread is told of the cancelling by another exception than the event loop is; it means the same."""

    async def case(line: Line) -> None:
        async def in_a_thread(_call: Any, session: Any) -> Any:
            return await run_blocking(session, lambda client: client.get(f"{session.base_url}/notes/n1").json())

        notes.behaves = in_a_thread
        with notes_service.holding():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(line.call, "notes_notes_misbehave", {"id": "n1"})
                await anyio.to_thread.run_sync(notes_service.arrived.get)
                tasks.cancel_scope.cancel()

            assert await anyio.to_thread.run_sync(notes_service.left.wait, 60)

        (outcome,) = await recorded(line)
        assert (outcome["status"], outcome["code"]) == ("outcome_unknown", None)

    in_line(case)


def test_a_caller_who_leaves_while_the_end_is_written_changes_nothing_in_it(in_line: InLine, notes: Notes) -> None:
    """architecture.md: *finished* is enqueued synchronously; what it says was true when it was."""

    async def case(line: Line) -> None:
        lock = locked(line.database)
        locked_now = asyncio.Event()

        async def then_lock(call: Any, session: Any) -> Any:
            result = await read(call, session)
            lock.__enter__()
            locked_now.set()
            return result

        notes.behaves = then_lock
        calling = asyncio.create_task(line.call("notes_notes_misbehave", {"id": "n1"}))
        await locked_now.wait()
        await asyncio.sleep(0.05)
        await cut(calling)
        lock.__exit__(None, None, None)

        (outcome,) = await recorded(line)
        assert outcome["status"] == "released"

    in_line(case)


def test_a_call_cut_at_any_moment_is_on_record_once(in_line: InLine, notes_service: NotesService) -> None:
    """Every await of the line is a place to be cut at; each leaves one story, and one that fits what was done."""

    async def case(line: Line) -> None:
        moments = 60
        for moment in range(moments):
            calling = asyncio.create_task(line.call("notes_notes_write", {"id": f"moment {moment}"}))
            for _ in range(moment * moment // 20):
                await asyncio.sleep(0)
            calling.cancel()
            await asyncio.wait([calling])

        await line.parts.recorder.note("mark")
        requested = {record["call_id"]: record for record in line.records(kind="requested")}
        outcomes = await recorded(line, len(requested))
        assert {outcome["status"] for outcome in outcomes} <= {"cancelled", "outcome_unknown", "released"}
        done = sum(effect.startswith("moment") for effect in notes_service.effects)
        assert done <= sum(outcome["status"] != "cancelled" for outcome in outcomes)
        assert line.verified().holds

    in_line(case)


@pytest.mark.parametrize("error", [asyncio.CancelledError, concurrent.futures.CancelledError])
def test_a_connector_that_only_looks_cancelled_has_failed(
    in_line: InLine, notes: Notes, error: type[BaseException]
) -> None:
    """Nobody asked for the call to end, so somebody still waits for the answer: it is a coded refusal."""

    async def case(line: Line) -> None:
        async def pretend(_call: Any, _session: Any) -> Any:
            raise error

        notes.behaves = pretend
        refusal = await line.refused("notes_notes_misbehave", {"id": "n1"})

        assert refusal.code == "internal_error"

    in_line(case)


def test_a_timeout_inside_a_connector_is_not_mistaken_for_a_cut(in_line: InLine, notes: Notes) -> None:
    """A timer ends a task by cancelling it; the call goes on to its own end, and its outcome is the service's."""

    async def case(line: Line) -> None:
        async def patient(call: Any, session: Any) -> Any:
            for timer in (asyncio.timeout(0.01), anyio.fail_after(0.01)):
                with pytest.raises(TimeoutError):
                    await _wait_in(timer)
            return await write(call, session)

        notes.behaves = patient
        answer = await line.call("notes_notes_misbehave", {"id": "patient"})

        assert line.outcome(answer.call_id)["status"] == "released"

    in_line(case)


async def _wait_in(timer: Any) -> None:
    if hasattr(timer, "__aenter__"):
        async with timer:
            await asyncio.Event().wait()
    else:
        with timer:
            await asyncio.Event().wait()


def test_an_answer_is_withheld_from_an_agent_that_was_barred_meanwhile(in_line: InLine, notes: Notes) -> None:
    """architecture.md, The documents: an agent's status is read live; an answer is let go to one that may call."""

    async def case(line: Line) -> None:
        documents = line.parts.documents

        async def then_bar(call: Any, session: Any) -> Any:
            result = await read(call, session)
            documents.current = dataclasses.replace(documents.current, registry=Registry([]))
            return result

        notes.behaves = then_bar

        refusal = await line.refused("notes_notes_misbehave", {"id": "n1"})

        (outcome,) = await recorded(line)
        assert (refusal.code, outcome["status"], outcome["code"]) == (
            "agent_unregistered",
            "withheld",
            "agent_unregistered",
        )

    in_line(case)
