"""Erasing: in batches, each with its record in the same commit, and never what a hold keeps."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from broker.errors import AuditUnavailable
from broker.evidence import erasure, holds
from tests.support.broker import Line, locked, open_line
from tests.support.documents import Written, recording_policy
from tests.support.log import append_call
from tests.support.notes import Notes

ACTOR = {"user": "ada", "uid": 1, "role": "admin"}
JANE = {"owner": "jane"}
Case = Callable[[Line], Awaitable[None]]


@pytest.fixture
def in_line(written: Written) -> Callable[[Case], None]:
    """Run a coroutine function with the parts of a broker whose analyst is recorded."""
    written.put("recording.yaml", recording_policy("arguments", "result"))

    def run(case: Case) -> None:
        async def main() -> None:
            async with open_line(written, Notes()) as line:
                await case(line)

        anyio.run(main, backend_options={"use_uvloop": True})

    return run


async def fill(line: Line, calls: int, owner: str = "jane") -> list[str]:
    """Record calls with a sealed value each, and return their ids."""
    ids = [f"{owner}-{number:04}" for number in range(calls)]

    def change(transaction: Any) -> None:
        for call in ids:
            append_call(line.parts.store, transaction, call, owner=owner)
            line.parts.store.payloads.add(transaction, call, "result", b"sealed", "now")

    await line.parts.store.commits.commit(change)
    return ids


def left(line: Line) -> list[str]:
    """Return the calls of which something is kept."""
    return line.parts.store.read(
        lambda connection: [call for (call,) in connection.execute("SELECT call_id FROM payloads ORDER BY call_id")]
    )


def test_very_many_calls_are_erased_in_commits_that_each_say_what_they_did(in_line: Callable[[Case], None]) -> None:
    """Issue 3, What must be true: each erasure is on record with its actor; a record has its limit, a commit too."""

    async def case(line: Line) -> None:
        ids = await fill(line, 1201)
        others = await fill(line, 3, "joe")

        erased = await erasure.erase(line.parts.store, JANE, "request 12", ACTOR)

        records = line.records(kind="payloads_erased")
        assert (erased.calls, erased.values, dict(erased.kept), erased.overwritten) == (1201, 1201, {}, True)
        assert [call for record in records for call in record["calls"]] == ids
        assert [record["count"] for record in records] == [500, 500, 201]
        assert all(
            (record["reason"], record["actor"], record["filter"]) == ("request 12", ACTOR, JANE) for record in records
        )
        assert left(line) == others
        assert line.verified().holds

    in_line(case)


def test_what_is_held_is_kept_and_it_is_said_by_which_hold(in_line: Callable[[Case], None]) -> None:
    """Issue 3, What a user can do 6: legal holds win."""

    async def case(line: Line) -> None:
        store = line.parts.store
        ids = await fill(line, 5)
        await holds.add(store, "case-1", {"call": ids[1]}, "case 1", ACTOR)
        await holds.add(store, "case-2", {"call": ids[1]}, "case 2", ACTOR)
        await holds.add(store, "case-3", {"call": ids[3]}, "case 3", ACTOR)

        wouldbe = await erasure.erasable(store, JANE)
        erased = await erasure.erase(store, JANE, "request 12", ACTOR)
        again = await erasure.erase(store, {"call": ids[3]}, "request 13", ACTOR)
        await holds.release(store, "case-3", "closed", ACTOR)
        finally_ = await erasure.erase(store, {"call": ids[3]}, "request 14", ACTOR)

        kept = {"case-1": 1, "case-2": 1, "case-3": 1}
        assert (wouldbe.calls, wouldbe.values, dict(wouldbe.kept)) == (3, 3, kept)
        assert (erased.calls, erased.values, dict(erased.kept)) == (3, 3, kept)
        assert (again.calls, dict(again.kept), finally_.calls) == (0, {"case-3": 1}, 1)
        assert left(line) == [ids[1]]
        assert line.records(kind="payloads_erased")[0]["kept"] == [
            {"hold": name, "calls": number} for name, number in kept.items()
        ]

    in_line(case)


def test_that_nothing_was_there_to_be_erased_is_on_record_too(in_line: Callable[[Case], None]) -> None:
    """Whoever asked for an erasure can be shown that it was made, and what it came to."""

    async def case(line: Line) -> None:
        erased = await erasure.erase(line.parts.store, JANE, "request 12", ACTOR)

        (record,) = line.records(kind="payloads_erased")
        assert (erased.values, record["count"], record["calls"], record["kept"]) == (0, 0, [], [])

    in_line(case)


def test_an_erasure_that_cannot_be_recorded_is_not_made(
    in_line: Callable[[Case], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """audit.md C5: fail closed; the deletion and its record are one commit."""
    monkeypatch.setattr("broker.store._BUSY_SECONDS", 0.05)

    async def case(line: Line) -> None:
        ids = await fill(line, 3)

        with locked(line.database), pytest.raises(AuditUnavailable):
            await erasure.erase(line.parts.store, JANE, "request 12", ACTOR)

        assert left(line) == ids
        assert line.records(kind="payloads_erased") == []

    in_line(case)


def test_a_real_call_is_found_by_whoever_it_belongs_to(in_line: Callable[[Case], None]) -> None:
    """The records that the pipeline writes have what the filter looks for."""
    parts = {
        "agent": "analyst", "owner": "jane@example.com", "team": "finance", "resource": "notes.notes",
        "action": "purge", "decision": "deny", "code": "access_denied", "since": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip

    async def case(line: Line) -> None:
        await line.call("notes_notes_read", {"id": "n1"})
        refusal = await line.refused("notes_notes_purge", {"id": "n1"})

        for name, value in parts.items():
            assert (await erasure.erasable(line.parts.store, {name: value})).calls in {1, 2}, name
            assert (await erasure.erasable(line.parts.store, {name: f"9{value}"})).calls == 0, name
        erased = await erasure.erase(line.parts.store, parts, "why", ACTOR)

        assert (erased.calls, erased.values) == (1, 1)
        assert refusal.call_id not in left(line)

    in_line(case)
