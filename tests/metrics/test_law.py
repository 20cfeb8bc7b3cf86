"""What metrics count is what the trail says: each call once, with the same end."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from broker.errors import Refusal, UpstreamFailed
from tests.support.broker import Line, open_line
from tests.support.documents import Written
from tests.support.metrics import Scraped
from tests.support.notes import Notes

pytestmark = pytest.mark.anyio


async def ended(line: Line, notes: Notes) -> None:
    """Make calls that end in every way: released, refused, failed, withheld, cut off."""

    async def fails(*_: Any) -> Any:
        raise UpstreamFailed

    async def breaks(*_: Any) -> Any:
        raise RuntimeError("a mistake in a connector")

    async def is_no_result(*_: Any) -> Any:
        return {"id": object()}

    await line.call("notes_notes_read", {"id": "n1"})
    await line.refused("notes_notes_purge", {"id": "n1"})
    await line.refused("notes_notes_read", {})
    await line.refused("nothing_of_the_sort")
    for behaves in (fails, breaks, is_no_result):
        notes.behaves = behaves
        await line.refused("notes_notes_misbehave", {"id": "n1"})
    await cut(line, notes)


async def cut(line: Line, notes: Notes) -> None:
    """Cut a call while its service has it."""
    begun = asyncio.Event()

    async def lasts(*_: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    notes.behaves = lasts
    task = asyncio.create_task(line.call("notes_notes_misbehave", {"id": "n1"}))
    await begun.wait()
    task.cancel()
    with pytest.raises((asyncio.CancelledError, Refusal)):
        await task


async def test_every_call_is_counted_once_with_the_end_that_is_on_record(written: Written) -> None:
    """Issue 7, metrics: the commit of *finished* is the moment of truth, whatever a call's ending."""
    notes = Notes()
    async with open_line(written, notes) as line:
        await ended(line, notes)
        await line.parts.recorder.note("after_all_of_them")
        found = Scraped.read((await line.parts.metrics.text())[0].decode())
        records, decided = line.records(kind="finished"), len(line.records(kind="decided"))

    on_record = Counter((one["outcome"]["status"], one["outcome"]["code"] or "") for one in records)
    counted = Counter[tuple[str, str]]()
    by_agent = Counter[tuple[str, str]]()
    for name, labels, value in found.samples:
        if name in {"aam_calls_total", "aam_agent_calls_total"}:
            mine = counted if name == "aam_calls_total" else by_agent
            mine[labels["status"], labels["code"]] += int(value)
    assert counted == by_agent == on_record
    assert {status for status, _ in on_record} == {"released", "refused", "failed", "withheld", "cancelled"}
    assert found.value("aam_call_duration_seconds_count") == len(records)
    assert found.value("aam_decisions_total") == decided
