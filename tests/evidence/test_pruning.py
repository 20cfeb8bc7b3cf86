"""Retention: what is past its time is forgotten, as a whole and on record; proofs, holds and open calls are kept."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.audit import Gap, Report, Statement, leaf_hash, verify
from broker.audit.proof import includes
from broker.evidence.export import export_lines, inclusion
from broker.evidence.pruning import prune
from broker.store import Hold, HoldRow, SettledPart, Transaction
from tests.support.broker import Line, open_line
from tests.support.documents import write_documents
from tests.support.notes import Notes, NotesService

ACTOR = {"user": "test", "uid": 0, "role": "admin"}
EVER = "2100-01-01T00:00:00.000Z"

pytestmark = pytest.mark.anyio


@pytest.fixture
async def line(tmp_path: Path, notes_service: NotesService) -> AsyncIterator[Line]:
    """Build a broker that has served a few calls."""
    async with open_line(write_documents(tmp_path / "access", notes_service), Notes()) as line:
        for _ in range(3):
            await line.call("notes_notes_read", {"id": "n1"})
        yield line


def exported(line: Line) -> tuple[list[bytes], Statement]:
    """Export everything."""
    store = line.parts.store
    stated = Statement.of(store.trail.log, store.commits.values[store.trail.HEAD])
    with store.reading() as connection:
        return list(export_lines(store.trail, connection, stated, [(0, stated.size)]))[1:], stated


def checked(line: Line) -> Report:
    """Export everything and check it."""
    return verify(*exported(line))


async def prune_all(line: Line, before: str = EVER, *, really: bool = True) -> tuple[int, int]:
    """Prune to the end; return how many records were pruned and how many held."""
    pruned = held = reached = 0
    while True:
        done = await prune(line.parts.store, before, reached, "kept for a year", ACTOR, really=really)
        pruned, held, reached = pruned + done.count, held + done.held, done.reached
        if reached >= done.size:
            return pruned, held


async def test_what_remains_still_verifies_and_the_pruning_is_on_record(line: Line) -> None:
    """Issue 3, What a user can do 6: proofs of what remains still verify and the pruning itself is on record."""
    before = exported(line)[1]
    seen = line.records()

    pruned, held = await prune_all(line)

    report = checked(line)
    assert report.holds, report.problem
    assert (held, pruned) == (0, len([one for one in seen if not one["kind"].startswith("signing_key")]))
    assert any("pruned records" in sentence for sentence in report.open)
    (event,) = line.records(kind="trail_pruned")
    assert event["actor"] == ACTOR
    assert sum(stop - start for start, stop in event["ranges"]) == event["count"] == pruned
    with line.parts.store.reading() as connection:
        assert line.parts.store.trail.head_at(connection, before.size).root().hex() == before.root


async def test_a_record_that_remains_is_proved_as_before(line: Line) -> None:
    """Issue 3, What a user can do 6, of each record by itself."""
    await prune_all(line)

    store = line.parts.store
    head = store.commits.values[store.trail.HEAD]
    with store.reading() as connection:
        kept = [(seq, body) for seq, body in store.trail.rows(connection, 0, head.size) if body is not None]
        assert len(kept) == 2
        for seq, body in kept:
            path = inclusion(store.trail, connection, seq, head.size)
            assert includes(leaf_hash(body), seq, head.size, path, head.root())


async def test_a_body_that_is_gone_without_a_record_of_pruning_is_found(line: Line) -> None:
    """Issue 3: pruning is told from loss by the record of it; a deletion with SQL has none."""
    with sqlite3.connect(line.database) as connection:
        connection.execute("UPDATE records SET body = NULL WHERE seq = 4")

    report = checked(line)

    assert not report.holds
    assert report.first_bad == 4


async def test_counting_prunes_nothing(line: Line) -> None:
    """`--dry-run`: what would be pruned is what is pruned then."""
    records = line.records()

    counted = await prune_all(line, really=False)

    assert line.records() == records
    assert await prune_all(line) == counted


async def test_only_what_is_past_its_time_is_forgotten(line: Line) -> None:
    """`--before`: a call one of whose records is younger stays as a whole."""
    call_id = (await line.call("notes_notes_read", {"id": "n1"})).call_id
    story = line.story(call_id)

    await prune_all(line, story["finished"]["time"])

    assert set(line.story(call_id)) == {"requested", "decided", "finished"}
    assert checked(line).holds


async def test_what_is_held_stays_until_the_hold_is_released(line: Line) -> None:
    """Issue 3, What a user can do 6: legal holds win."""
    kept = (await line.call("notes_notes_read", {"id": "n1"})).call_id
    store = line.parts.store
    hold = Hold("h1", "case-7", {"call": kept}, "litigation", "2026-11-24T00:00:00.000Z")
    await store.commits.commit(lambda change: store.holds.add(change, hold))

    _, held = await prune_all(line)

    assert held == 3
    assert len(line.records(kept)) == 3
    assert line.records(kind="trail_pruned")[0]["held"] == 3
    assert checked(line).holds
    await store.commits.commit(lambda change: store.holds.release(change, "case-7", "2026-11-25T00:00:00.000Z"))
    assert (await prune_all(line))[1] == 0
    assert line.records(kept) == []


async def test_an_open_call_is_not_pruned(line: Line) -> None:
    """Its outcome is still to be recorded, and half a call would be no evidence."""
    store = line.parts.store
    requested = line.records(kind="requested")[0]
    await store.commits.commit(lambda change: store.trail.open_call(change, requested["call_id"], requested["time"]))

    await prune_all(line)

    assert len(line.records(requested["call_id"])) == 3


async def test_a_broker_whose_trail_was_pruned_starts_and_goes_on(tmp_path: Path, notes_service: NotesService) -> None:
    """Issue 3: what was signed before is the beginning of what comes after, pruned or not."""
    written = write_documents(tmp_path / "access", notes_service)
    async with open_line(written, Notes()) as line:
        await line.call("notes_notes_read", {"id": "n1"})
        await line.parts.heads.sign()
        await prune_all(line)
        size = line.parts.store.commits.values[line.parts.store.trail.HEAD].size

    async with open_line(written, Notes(), grant=False) as again:
        answer = await again.call("notes_notes_read", {"id": "n1"})

        assert len(again.story(answer.call_id)) == 3
        assert exported(again)[1].size > size
        assert checked(again).holds


async def test_a_trail_is_pruned_in_steps_each_on_record(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """`prune`: a step forgets some, and says where to go on."""
    monkeypatch.setattr("broker.evidence.pruning._AT_ONCE", 2)
    monkeypatch.setattr("broker.evidence.pruning._LOOKED_AT", 5)

    pruned, _ = await prune_all(line)

    assert len(line.records(kind="trail_pruned")) >= pruned / 2
    assert checked(line).holds


async def test_what_was_recorded_encrypted_goes_with_its_call(line: Line) -> None:
    """Issue 3: what is past its time is forgotten whole."""
    store, call_id = line.parts.store, str(line.records(kind="finished")[0]["call_id"])
    await store.commits.commit(lambda change: store.payloads.add(change, call_id, "arguments", b"sealed", EVER))

    await prune_all(line)

    assert store.read(lambda connection: store.payloads.of_call(connection, call_id)) == {}


async def test_nothing_of_what_was_pruned_is_left_in_the_store(line: Line) -> None:
    """Issue 3: retention means that it is gone, from the file and its log too."""
    call_id = str(line.records(kind="finished")[0]["call_id"])
    await prune_all(line)

    await asyncio.to_thread(_fold, line.database)

    for path in line.database.parent.glob("broker.db*"):
        assert f'"call_id":"{call_id}"'.encode() not in path.read_bytes()


def _fold(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def test_gaps_name_exactly_what_is_missing(line: Line) -> None:
    """statement.py: a run of pruned records is one gap."""
    await prune_all(line)

    lines, stated = exported(line)

    gaps: list[Any] = [gap for gap in map(Gap.parse, lines) if gap is not None]
    missing = {seq for gap in gaps for seq in range(gap.start, gap.stop)}
    there = {json.loads(one)["seq"] for one in lines if Gap.parse(one) is None}
    assert missing | there == set(range(stated.size))
    assert all(gap.why == "pruned" for gap in gaps)


async def test_what_a_pruned_call_has_cost_is_forgotten_once_no_window_counts_it(line: Line) -> None:
    """Issue 7: spending is known for as long as the trail knows the call; a budget of this month still counts it."""
    store, (call, other, _) = line.parts.store, [one["call_id"] for one in line.records(kind="finished")]
    old, now = 1_700_000_000, int(time.time())

    def spend(transaction: Transaction) -> None:
        for hold, of, admitted in (("old", call, old), ("young", call, now), ("live", other, old)):
            store.budgets.hold(transaction, held(hold, of, admitted))
            if hold != "live":
                store.budgets.settle(transaction, hold, "settled", SettledPart(5, "usage", admitted))

    await store.commits.commit(spend)
    await prune_all(line)

    query = "SELECT id FROM budget_holds ORDER BY id"
    left = store.read(lambda connection: [hold for (hold,) in connection.execute(query)])
    assert left == ["live", "young"]


def held(hold: str, call: str, admitted: int) -> HoldRow:
    """Return a hold of a call."""
    words = ("analyst", "analyst", "finance", "jane", "route", "openai", "small")
    return HoldRow(hold, call, 1, "dispatched", *words, 5, 5, admitted, [])
