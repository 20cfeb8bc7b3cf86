import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio.to_thread

from broker.documents import load
from broker.identity import WorkloadIdentity
from broker.pipeline import Origin, Request
from tests.support.broker import Line, open_line
from tests.support.documents import ANALYST, OTHER, POLICIES, Written, agents_document
from tests.support.notes import Notes, NotesService, read

InLine = Callable[[Callable[[Line], Awaitable[None]]], None]


def test_a_denied_call_says_which_policy_and_what_would_be_permitted(in_line: InLine) -> None:
    """architecture.md, names and answers: denied, with the policy's name and what would be allowed."""

    async def case(line: Line) -> None:
        refusal = await line.refused("notes_notes_purge", {"id": "n1"})

        assert refusal.code == "access_denied"
        for word in ("analyst-notes", "'purge'", "notes.notes", "archive, misbehave, read, write"):
            assert word in refusal.message

    in_line(case)


def test_what_no_rule_could_permit_is_denied_before_its_arguments_are_looked_at(in_line: InLine) -> None:
    """architecture.md: denied first; then arguments are validated; then the call is decided."""

    async def case(line: Line) -> None:
        assert (await line.refused("notes_notes_purge", {"wrong": 1})).code == "access_denied"
        assert (await line.refused("notes_notes_archive", {"wrong": 1})).code == "invalid_arguments"

    in_line(case)


def test_a_denied_call_never_opens_the_vault(written: Written, notes: Notes) -> None:
    """house-style.md's own example: without a grant a denied call is denied, and only a permitted one misses it."""

    async def case() -> None:
        async with open_line(written, notes, grant=False) as line:
            denied = await line.refused("notes_notes_purge", {"id": "n1"})
            permitted = await line.refused("notes_notes_read", {"id": "n1"})

            assert (denied.code, permitted.code) == ("access_denied", "grant_unavailable")
            assert line.outcome(str(permitted.call_id))["status"] == "failed"

    anyio.run(case)


def test_an_agent_without_policies_knows_of_no_tool(in_line: InLine, written: Written) -> None:
    """house-style.md: absent means less. No rules: deny; and what is not mentioned does not exist."""
    written.put("policies.yaml", POLICIES.partition("---\n")[0])

    async def case(line: Line) -> None:
        refusal = await line.refused("notes_notes_read", {"id": "n1"}, OTHER)

        assert refusal.code == "unknown_tool"

    in_line(case)


def test_a_result_is_narrowed_to_what_the_tool_declares(in_line: InLine) -> None:
    """architecture.md, Connectors: what may leave is an allow-list."""

    async def case(line: Line) -> None:
        answer = await line.call("notes_notes_read", {"id": "n1"})

        assert b"Revenue" in answer.text
        assert b"internal" not in answer.text

    in_line(case)


def test_a_draining_broker_refuses_and_records(in_line: InLine) -> None:
    """architecture.md, Processes: new calls are refused `draining`, and that too is in the trail."""

    async def case(line: Line) -> None:
        line.parts.pipeline.draining = True

        refusal = await line.refused("notes_notes_read", {"id": "n1"})

        assert refusal.code == "draining"
        assert line.outcome(str(refusal.call_id))["code"] == "draining"

    in_line(case)


def test_a_call_keeps_the_documents_it_began_with(
    in_line: InLine, written: Written, notes_service: NotesService
) -> None:
    """architecture.md, The documents: each call uses one snapshot throughout."""

    async def case(line: Line) -> None:
        before = line.parts.documents.current
        with notes_service.holding():
            calling = asyncio.create_task(line.call("notes_notes_read", {"id": "n1"}))
            await anyio.to_thread.run_sync(notes_service.arrived.get)
            (written.directory / "policies.yaml").unlink()
            line.parts.documents.current = load(written.directory, line.parts.options.find)
        answer = await calling

        assert line.outcome(answer.call_id)["status"] == "released"
        assert line.story(answer.call_id)["requested"]["documents"] == before.digest
        assert (await line.refused("notes_notes_read", {"id": "n1"})).code == "unknown_tool"

    in_line(case)


def test_an_agents_status_is_read_when_it_calls(in_line: InLine, written: Written) -> None:
    """architecture.md: the pipeline's first step re-reads the agent's live status, whatever the door has seen."""

    async def case(line: Line) -> None:
        written.put("agents.yaml", agents_document(analyst="suspended"))
        line.parts.documents.current = load(written.directory, line.parts.options.find)

        refusal = await line.refused("notes_notes_read", {"id": "n1"})

        assert refusal.code == "agent_suspended"

    in_line(case)


def test_progress_is_passed_on_as_it_comes(in_line: InLine, notes: Notes) -> None:
    """architecture.md: `emit` takes progress and stream events as they come."""
    seen: list[tuple[int, int | None]] = []

    async def case(line: Line) -> None:
        async def slow(call: Any, session: Any) -> Any:
            await call.emit(1, 2)
            await call.emit(2, None)
            return await read(call, session)

        async def emit(done: int, total: int | None) -> None:
            seen.append((done, total))

        notes.behaves = slow
        identity = WorkloadIdentity(ANALYST, "prod", "jwt-svid", "development", "sha256:0")
        request = Request(identity, "notes_notes_misbehave", {"id": "n1"}, Origin("stdio", "uid:0"))
        await line.parts.pipeline.call(request, emit)

    in_line(case)

    assert seen == [(1, 2), (2, None)]


def test_a_result_over_the_cap_is_withheld(in_line: InLine, notes: Notes) -> None:
    """Issue 2, MCP: results are capped with clear errors."""

    async def case(line: Line) -> None:
        current = line.parts.documents.current
        small = current.broker.model_copy(
            update={"caps": current.broker.caps.model_copy(update={"result_bytes": 1024})}
        )
        line.parts.documents.current = replace(current, broker=small)

        async def much(_call: Any, _session: Any) -> Any:
            return {"id": "n1", "text": "x" * 2000}

        notes.behaves = much
        refusal = await line.refused("notes_notes_misbehave")

        assert refusal.code == "result_too_large"
        assert line.outcome(str(refusal.call_id))["status"] == "withheld"

    in_line(case)


def test_a_call_that_lasts_could_begin_for_as_long_as_rule_and_grant_are_there(in_line: InLine) -> None:
    """0088: what is asked again of a subscription: by the documents, and with the grants, of this moment."""

    async def case(line: Line) -> None:
        identity = WorkloadIdentity(ANALYST, "prod", "jwt-svid", "development", "sha256:0")
        origin = Origin(transport="streamable-http", source="127.0.0.1")
        asked = Request(identity, "notes_notes_read", {"id": "n1"}, origin)
        permits = line.parts.pipeline.permits

        assert permits(asked)
        assert not permits(replace(asked, tool="notes_notes_purge"))
        assert not permits(replace(asked, tool="notes_notes_unknown"))
        for grant in line.parts.vault.grants():
            await line.parts.vault.revoke(grant.id, None, {"user": "test", "uid": 0, "role": "admin"})
        assert not permits(asked)

    in_line(case)
