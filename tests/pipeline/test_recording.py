import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import patch

import pytest

from broker.errors import Refusal
from broker.vault import Opened
from tests.support.broker import Line, locked, until
from tests.support.documents import ANALYST, BARRED, OTHER
from tests.support.notes import TOKEN, Notes, NotesService, read, write

InLine = Callable[[Callable[[Line], Awaitable[None]]], None]


def test_a_call_leaves_three_linked_records(in_line: InLine) -> None:
    """audit.md C6: who, by which rule, with which credential, what came of it; arguments and results as digests."""

    async def case(line: Line) -> None:
        answer = await line.call("notes_notes_read", {"id": "n1"}, client="tester", protocol="2026-07-28")

        story = line.story(answer.call_id)
        assert list(story) == ["requested", "decided", "finished"]
        assert story["requested"]["identity"] | {"spiffe_id": ANALYST, "agent": "analyst", "owner": "jane@example.com"}
        assert story["requested"]["identity"]["team"] == "finance"
        assert story["requested"]["identity"]["environment"] == "production"
        assert story["requested"]["identity"]["deployment"] == "analyst-1"
        assert story["requested"]["origin"]["client"] == "tester"
        assert story["requested"]["action"]["resource"] == "notes.notes"
        assert story["requested"]["documents"] == line.parts.documents.current.digest
        assert story["decided"]["policy"]["decision"] == "permit"
        assert story["decided"]["policy"]["rules"][0]["policy"] == "analyst-notes"
        assert story["finished"]["outcome"]["status"] == "released"
        assert story["finished"]["credential"]["kind"] == "jwt-bearer"
        text = repr(story)
        assert "n1" not in text
        assert "Revenue" not in text
        assert TOKEN not in text
        assert line.verified().holds

    in_line(case)


def test_requested_and_decided_are_on_disk_before_anything_happens(in_line: InLine, notes: Notes) -> None:
    """architecture.md, the way of one call: both are durable before any side effect."""
    seen: list[str] = []

    async def case(line: Line) -> None:
        async def look(call: Any, session: Any) -> Any:
            with sqlite3.connect(line.database) as another:
                seen.extend(kind for (kind,) in another.execute("SELECT json_extract(body, '$.kind') FROM records"))
            another.close()
            return await read(call, session)

        notes.behaves = look
        await line.call("notes_notes_misbehave", {"id": "n1"})

    in_line(case)

    assert seen[-2:] == ["requested", "decided"]


def test_a_permitted_call_takes_two_commits(in_line: InLine) -> None:
    """architecture.md, one writer, two commits."""

    async def case(line: Line) -> None:
        await line.call("notes_notes_read", {"id": "the token that both use is issued"})
        with line.counting() as commits:
            await line.call("notes_notes_write", {"id": "two commits"})

        assert len(commits) == 2

    in_line(case)


@pytest.mark.parametrize(
    ("tool", "arguments", "workload", "code", "kinds"),
    [
        ("nope", {}, ANALYST, "unknown_tool", ["requested", "finished"]),
        ("notes_secrets_read", {"id": "n1"}, ANALYST, "unknown_tool", ["requested", "finished"]),
        ("notes_notes_purge", {"id": "n1"}, ANALYST, "access_denied", ["requested", "decided", "finished"]),
        ("notes_notes_write", {"id": "n1"}, OTHER, "access_denied", ["requested", "decided", "finished"]),
        ("notes_notes_read", {"it": "n1"}, ANALYST, "invalid_arguments", ["requested", "finished"]),
        ("notes_notes_read", {"id": "x" * 270_000}, ANALYST, "arguments_too_large", ["requested", "finished"]),
        ("notes_notes_archive", {"id": "n1"}, ANALYST, "action_not_built", ["requested", "decided", "finished"]),
        *(("notes_notes_read", {"id": "n1"}, who, code, ["requested", "finished"]) for code, who in BARRED.items()),
    ],
)
def test_a_refusal_takes_one_commit_and_is_recorded_as_what_it_is(
    in_line: InLine, tool: str, arguments: Any, workload: str, code: str, kinds: list[str]
) -> None:
    """architecture.md, one writer, two commits: a refusal takes one; lessons.md 12: denied differs from not found."""

    async def case(line: Line) -> None:
        with line.counting() as commits:
            refusal = await line.refused(tool, arguments, workload)

        assert refusal.code == code
        assert len(commits) == 1
        story = line.story(str(refusal.call_id))
        assert list(story) == kinds
        assert (story["finished"]["outcome"]["status"], story["finished"]["outcome"]["code"]) == ("refused", code)
        assert story["finished"]["credential"] is None
        assert line.open_calls() == []

    in_line(case)


@pytest.mark.parametrize(
    "arguments",
    [{"id": "\ud800"}, {"id": 2**70}, {"id": float("nan")}, {"id": ["x"] * 3}],
    ids=["surrogate", "huge", "nan", "list"],
)
def test_arguments_that_have_no_encoding_are_a_recorded_refusal(in_line: InLine, arguments: Any) -> None:
    """lessons.md 13: no call is outside the trail, whatever is in its arguments."""

    async def case(line: Line) -> None:
        refusal = await line.refused("notes_notes_read", arguments)

        assert refusal.code == "invalid_arguments"
        assert line.outcome(str(refusal.call_id))["code"] == "invalid_arguments"

    in_line(case)


def test_deeply_nested_arguments_are_a_recorded_refusal(in_line: InLine) -> None:
    """Issue 2, MCP: arguments are validated by us, with clear errors; nothing an agent sends breaks the broker."""

    async def case(line: Line) -> None:
        for depth in (100, 300, 500, 5_000):
            nested: Any = "x"
            for _ in range(depth):
                nested = [nested]
            refusal = await line.refused("notes_notes_read", {"id": nested})

            assert refusal.code == "invalid_arguments", depth
            assert line.outcome(str(refusal.call_id))["status"] == "refused"

    in_line(case)


def test_where_no_place_is_free_the_permit_stays_on_record(in_line: InLine) -> None:
    """architecture.md: where the hold fails, *decided* keeps the permit and *finished* carries the code."""

    async def case(line: Line) -> None:
        with line.parts.slots.hold(ANALYST), line.counting() as commits:
            line.parts.slots._most = 1
            refusal = await line.refused("notes_notes_read", {"id": "n1"})

        story = line.story(str(refusal.call_id))
        assert refusal.code == "too_many_calls"
        assert len(commits) == 1
        assert story["decided"]["policy"]["decision"] == "permit"
        assert story["finished"]["outcome"]["code"] == "too_many_calls"
        assert line.open_calls() == []

    in_line(case)


def test_an_answer_waits_for_its_finished_record(in_line: InLine, notes: Notes) -> None:
    """architecture.md: an answer is released only once *finished* is durable."""

    async def case(line: Line) -> None:
        lock, held = locked(line.database), asyncio.Event()

        async def then_lock(call: Any, session: Any) -> Any:
            result = await read(call, session)
            lock.__enter__()
            held.set()
            return result

        notes.behaves = then_lock
        calling = asyncio.create_task(line.call("notes_notes_misbehave", {"id": "n1"}))

        await held.wait()
        await asyncio.wait([calling], timeout=0.3)
        early = calling.done()
        lock.__exit__(None, None, None)
        answer = await calling

        assert not early
        assert line.outcome(answer.call_id)["status"] == "released"

    in_line(case)


@pytest.mark.usefixtures("impatient")
def test_a_result_that_cannot_be_recorded_is_withheld_and_settled_later(in_line: InLine, notes: Notes) -> None:
    """audit.md C5: the result is withheld; it is on record as withheld as soon as the store takes it."""

    async def case(line: Line) -> None:
        lock = locked(line.database)

        async def then_lock(call: Any, session: Any) -> Any:
            result = await write(call, session)
            lock.__enter__()
            return result

        notes.behaves = then_lock

        refusal = await line.refused("notes_notes_misbehave", {"id": "withheld"})
        lock.__exit__(None, None, None)
        before = [call for call, _ in line.open_calls()]
        await line.parts.recorder.settle()

        assert refusal.code == "audit_unavailable"
        assert before == [refusal.call_id]
        assert line.outcome(str(refusal.call_id))["status"] == "withheld"
        assert line.outcome(str(refusal.call_id))["code"] == "audit_unavailable"
        assert line.open_calls() == []

    in_line(case)


@pytest.mark.usefixtures("impatient")
def test_a_call_cut_off_while_the_store_fails_is_settled_later(in_line: InLine, notes: Notes) -> None:
    """audit.md C5: an intent without an outcome is shown; nobody waits for this one, and it is not forgotten."""

    async def case(line: Line) -> None:
        lock = locked(line.database)
        reached = asyncio.Event()

        async def lock_and_stay(call: Any, session: Any) -> Any:
            await write(call, session)
            lock.__enter__()
            reached.set()
            await asyncio.Event().wait()

        notes.behaves = lock_and_stay
        calling = asyncio.create_task(line.call("notes_notes_misbehave", {"id": "cut"}))
        await reached.wait()
        calling.cancel()
        await asyncio.wait([calling])
        await asyncio.wait_for(asyncio.to_thread(until, lambda: line.parts.recorder._owed), 60)
        lock.__exit__(None, None, None)

        await line.parts.recorder.settle()

        (finished,) = line.records(kind="finished")
        assert finished["outcome"]["status"] == "outcome_unknown"
        assert line.open_calls() == []

    in_line(case)


@pytest.mark.usefixtures("impatient")
def test_what_cannot_be_recorded_is_not_done(in_line: InLine, notes_service: NotesService) -> None:
    """audit.md C5, fail closed: without a durable intent the call is refused, and calls work again by themselves."""

    async def case(line: Line) -> None:
        with locked(line.database):
            refusal = await line.refused("notes_notes_write", {"id": "unrecorded"})
            failing = line.parts.trouble()
        await line.parts.recorder.settle()
        resumed = line.parts.trouble()
        answer = await line.call("notes_notes_write", {"id": "recorded"})

        assert refusal.code == "audit_unavailable"
        assert failing == {"status": "audit_unavailable"}
        assert resumed is None
        assert line.records(kind="recording_resumed")
        assert "unrecorded" not in notes_service.effects
        assert line.outcome(answer.call_id)["status"] == "released"

    in_line(case)


def test_a_record_that_grows_too_large_does_not_lose_the_outcome(in_line: InLine) -> None:
    """A service names its scopes as it likes; more of them than a record holds must not keep a call open for ever."""

    async def case(line: Line) -> None:
        with patch.object(Opened, "record", lambda _: {"scopes": ["x" * 70_000]}):
            answer = await line.call("notes_notes_read", {"id": "n1"})

        assert line.outcome(answer.call_id)["status"] == "released"
        assert line.story(answer.call_id)["finished"]["credential"] is None

    in_line(case)


def test_what_a_dead_process_left_open_is_finished_as_unknown(in_line: InLine) -> None:
    """Issue 2, Trail: `outcome_unknown` calls are listed after a restart."""

    async def case(line: Line) -> None:
        trail, commits = line.parts.store.trail, line.parts.store.commits
        await commits.commit(lambda change: trail.open_call(change, "a call", "2026-11-23T21:54:07.123Z"))

        found = await line.parts.recorder.recover()
        again = await line.parts.recorder.recover()

        assert (found, again) == (["a call"], [])
        outcome = line.outcome("a call")
        assert (outcome["status"], outcome["found_at_start"]) == ("outcome_unknown", True)
        assert line.open_calls() == []

    in_line(case)


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", "0af7651916cd43dd8448eb211c80319c"),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
        ("ff-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", None),
        ("00-0AF7651916CD43DD8448EB211C80319C-00f067aa0ba902b7-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01\n", None),
        ("x" * 100_000, None),
        (None, None),
    ],
)
def test_a_trace_context_is_kept_if_it_is_one(in_line: InLine, text: str | None, run: str | None) -> None:
    """Issue 2, Telemetry: inbound `traceparent` is kept in the trail; W3C Trace Context §3.2 says what is one."""

    async def case(line: Line) -> None:
        answer = await line.call("notes_notes_read", {"id": "n1"}, traceparent=text)

        requested = line.story(answer.call_id)["requested"]
        assert requested["run_id"] == run
        assert requested["traceparent"] == (text if run else None)

    in_line(case)


def test_what_a_client_says_of_itself_is_bounded_and_has_an_encoding(in_line: InLine) -> None:
    """A record has 65,535 bytes; nobody who calls may choose how many of them are used, or break the encoding."""

    async def case(line: Line) -> None:
        endless = "\ud800" + "x" * 1_000_000
        refusal: Refusal | None = None
        try:
            await line.call(endless, {}, client=endless, client_version=endless, protocol=endless, source=endless)
        except Refusal as refused:
            refusal = refused

        assert refusal is not None
        requested = line.story(str(refusal.call_id))["requested"]
        assert {len(requested["origin"][name]) for name in ("client", "client_version", "protocol", "source")} == {200}
        assert len(requested["action"]["tool"]) == 200

    in_line(case)


def test_while_the_clock_is_set_back_no_call_is_made(in_line: InLine, notes_service: NotesService) -> None:
    """Issue 3: refused with a code, none executed unrecorded, and it resumes when the clock has caught up."""

    async def case(line: Line) -> None:
        recorder, before = line.parts.recorder, list(notes_service.effects)
        true_time = recorder.clock
        await line.call("notes_notes_read", {"id": "n1"})

        recorder.clock = lambda: true_time() - 3600
        refused = await line.refused("notes_notes_write", {"id": "in the past"})
        await recorder.look_at_the_clock()
        await recorder.look_at_the_clock()
        recorder.clock = true_time
        await recorder.look_at_the_clock()
        await line.call("notes_notes_write", {"id": "now"})

        assert refused.code == "audit_unavailable"
        assert notes_service.effects == [*before, "now"]
        ((back,), (caught_up,)) = line.records(kind="clock_set_back"), line.records(kind="clock_caught_up")
        assert 3590 < back["seconds"] <= 3600
        assert caught_up["seq"] > back["seq"]
        assert line.outcome(str(refused.call_id))["status"] == "refused"

    in_line(case)


def test_a_clock_that_is_put_right_by_seconds_stops_nobody(in_line: InLine) -> None:
    """recorder.py: what NTP does is no trouble."""

    async def case(line: Line) -> None:
        recorder = line.parts.recorder
        true_time = recorder.clock
        recorder.check()
        recorder.clock = lambda: true_time() - 20

        await line.call("notes_notes_read", {"id": "n1"})
        await recorder.look_at_the_clock()

        assert not line.records(kind="clock_set_back")

    in_line(case)
