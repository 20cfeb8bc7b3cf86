"""What policies have recorded encrypted: committed to in the record, sealed beside it, or nothing is done."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import patch

import pytest

from broker.audit import canonical
from broker.vault import Vault
from tests.support.broker import Line, locked
from tests.support.documents import ANALYST, BARRED, OTHER, Written, recording_policy
from tests.support.notes import TOKEN, Notes, NotesService, read, write

InLine = Callable[[Callable[[Line], Awaitable[None]]], None]
SHAPE = "ghp_" + "a1B2" * 10  # as a token of another service looks


def kept(line: Line, call_id: str) -> dict[str, bytes]:
    """Return the sealed values that are kept of a call."""
    return line.parts.store.read(lambda connection: line.parts.store.payloads.of_call(connection, call_id))


def opened(line: Line, call_id: str) -> dict[str, Any]:
    """Open what is kept of a call."""
    return {
        field: json.loads(line.parts.vault.opened_payload(call_id, field, sealed))
        for field, sealed in kept(line, call_id).items()
    }


def sealed_of(line: Line, call_id: str) -> list[Any]:
    """Return what the trail says of sealed values of a call."""
    records = line.records(call_id)
    return [
        one for record in records for part in ("action", "outcome") for one in record.get(part, {}).get("sealed", [])
    ]


def record(written: Written, *words: str, workload: str = ANALYST) -> None:
    """Have parts of an agent's calls recorded."""
    written.put("recording.yaml", recording_policy(*words, workload=workload))


def test_the_record_commits_to_the_sealed_value_and_holds_neither_it_nor_the_value(
    in_line: InLine, written: Written
) -> None:
    """Issue 3, What must be true: recorded encrypted, and erasable without breaking a proof."""
    record(written, "arguments.id", "result")

    async def case(line: Line) -> None:
        answer = await line.call("notes_notes_read", {"id": "n1"})

        values = kept(line, answer.call_id)
        story = line.story(answer.call_id)
        assert story["requested"]["action"]["sealed"] == [commitment("arguments.id", values["arguments.id"])]
        assert story["finished"]["outcome"]["sealed"] == [commitment("result", values["result"])]
        assert opened(line, answer.call_id) == {"arguments.id": "n1", "result": json.loads(answer.text)}
        assert "Revenue" not in repr(story)
        assert b"Revenue" not in values["result"]
        assert line.verified().holds

    in_line(case)


def commitment(field: str, sealed: bytes) -> dict[str, Any]:
    """Say what a record should say of a sealed value."""
    return {"field": field, "sha256": hashlib.sha256(sealed).hexdigest(), "bytes": len(sealed)}


def test_equal_values_have_commitments_that_say_nothing_of_it(in_line: InLine, written: Written) -> None:
    """docs/decisions: a commitment to the sealed value, so that nobody who guesses the value can see it confirmed."""
    record(written, "arguments.id")

    async def case(line: Line) -> None:
        answers = [await line.call("notes_notes_read", {"id": "n1"}) for _ in range(2)]

        first, second = (sealed_of(line, answer.call_id)[0]["sha256"] for answer in answers)
        assert first != second
        assert hashlib.sha256(b'"n1"').hexdigest() not in {first, second}

    in_line(case)


def test_nothing_is_sealed_where_no_policy_asks(in_line: InLine, written: Written) -> None:
    """Issue 3, Speed and size: who does not ask does not pay; another agent's policy asks for its own calls only."""
    record(written, "arguments", "result", workload=OTHER)

    async def case(line: Line) -> None:
        with patch.object(Vault, "sealed_payload", side_effect=AssertionError):
            answer = await line.call("notes_notes_read", {"id": "n1"})

        assert sealed_of(line, answer.call_id) == []
        assert kept(line, answer.call_id) == {}

    in_line(case)


def test_several_policies_have_the_union_recorded(in_line: InLine, written: Written) -> None:
    """policy.py, `recorded`: all arguments cover the one that another policy names."""
    written.put("one.yaml", recording_policy("arguments.id", name="one"))
    written.put("two.yaml", recording_policy("arguments", name="two"))

    async def case(line: Line) -> None:
        answer = await line.call("notes_notes_read", {"id": "n1"})

        assert opened(line, answer.call_id) == {"arguments": {"id": "n1"}}

    in_line(case)


def test_a_call_takes_two_commits_all_the_same(in_line: InLine, written: Written) -> None:
    """architecture.md, one writer, two commits: a sealed value goes with the record that commits to it."""
    record(written, "arguments", "result")

    async def case(line: Line) -> None:
        await line.call("notes_notes_read", {"id": "n1"})  # has a token issued, which is on record by itself

        with line.counting() as commits:
            await line.call("notes_notes_read", {"id": "n1"})

        assert len(commits) == 2

    in_line(case)


@pytest.mark.parametrize("tool", ["notes_notes_purge", "notes_secrets_read"])
def test_a_denied_call_has_its_arguments_recorded_and_one_for_what_is_unknown_has_not(
    in_line: InLine, written: Written, tool: str
) -> None:
    """Compliance asks what an agent has tried; where no policy applied, none has asked for anything."""
    record(written, "arguments", "result")

    async def case(line: Line) -> None:
        refusal = await line.refused(tool, {"id": "n1"})

        denied = refusal.code == "access_denied"
        assert opened(line, str(refusal.call_id)) == ({"arguments": {"id": "n1"}} if denied else {})
        assert [one["field"] for one in sealed_of(line, str(refusal.call_id))] == ["arguments"] * denied

    in_line(case)


@pytest.mark.parametrize(
    ("tool", "arguments", "workload"),
    [
        ("nope", {"id": "n1"}, ANALYST),
        ("notes_notes_read", {"it": "n1"}, ANALYST),
        ("notes_notes_read", {"id": "x" * 270_000}, ANALYST),
        *(("notes_notes_read", {"id": "n1"}, workload) for workload in BARRED.values()),
    ],
)
def test_what_is_refused_before_a_policy_applies_is_not_recorded(
    in_line: InLine, written: Written, tool: str, arguments: Any, workload: str
) -> None:
    """Absent means less: nothing was decided, so no policy had anything recorded."""
    for number, one in enumerate((ANALYST, *BARRED.values())):
        written.put(f"recording{number}.yaml", recording_policy("arguments", name=f"r{number}", workload=one))

    async def case(line: Line) -> None:
        refusal = await line.refused(tool, arguments, workload)

        assert sealed_of(line, str(refusal.call_id)) == []
        assert kept(line, str(refusal.call_id)) == {}

    in_line(case)


def nested(depth: int) -> Any:
    """Nest lists within each other."""
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("arguments", "omitted"),
    [
        ({"id": "x" * 270_000}, "too_large"),
        ({"id": nested(500)}, "too_deep"),
        ({"id": "\ud800"}, "not_json"),
        ({"id": float("nan")}, None),
    ],
    ids=["large", "deep", "surrogate", "nan"],
)
def test_what_is_too_much_to_record_is_omitted_and_the_record_says_so(
    in_line: InLine, written: Written, arguments: Any, omitted: str | None
) -> None:
    """A denied call's arguments are looked at by nobody before they are recorded: the caps hold here too."""
    record(written, "arguments")

    async def case(line: Line) -> None:
        refusal = await line.refused("notes_notes_purge", arguments)

        assert refusal.code == "access_denied"
        said = sealed_of(line, str(refusal.call_id))
        assert [one.get("omitted") for one in said] == [omitted]
        assert len(kept(line, str(refusal.call_id))) == (omitted is None)

    in_line(case)


def test_no_agent_makes_a_record_too_large_by_what_is_sealed_of_it(in_line: InLine, written: Written) -> None:
    """A record has 65,535 bytes: of very many chosen arguments, as many as have their place are recorded."""
    names = [f"{'n' * 60}{number}" for number in range(150)]
    for start in (0, 40, 80, 120):
        words = [f"arguments.{name}" for name in names[start : start + 40]]
        written.put(f"recording{start}.yaml", recording_policy(*words, name=f"r{start}"))

    async def case(line: Line) -> None:
        answer = await line.call("notes_notes_misbehave", {"id": "n1"} | dict.fromkeys(names, "x"))

        said = sealed_of(line, answer.call_id)
        assert (len(said), said[-1]) == (101, {"field": "arguments", "omitted": "too_many"})
        assert len(kept(line, answer.call_id)) == 100
        assert len(canonical(line.story(answer.call_id)["requested"])) < 40_000

    in_line(case)


def test_a_chosen_argument_that_was_not_sent_is_not_recorded(in_line: InLine, written: Written) -> None:
    """There is nothing to record, and nothing to say of it."""
    record(written, "arguments.id", "arguments.more")

    async def case(line: Line) -> None:
        answer = await line.call("notes_notes_misbehave", {"id": "n1", "other": "x"})

        assert opened(line, answer.call_id) == {"arguments.id": "n1"}

    in_line(case)


def test_arguments_that_cannot_be_sealed_are_a_call_that_is_not_made(
    in_line: InLine, written: Written, notes_service: NotesService
) -> None:
    """audit.md C5, fail closed: what must be recorded and cannot be is not done, and the record says why."""
    record(written, "arguments", "result")

    async def case(line: Line) -> None:
        with patch.object(Vault, "sealed_payload", side_effect=MemoryError):
            refusal = await line.refused("notes_notes_write", {"id": "unsealed"})

        assert refusal.code == "audit_unavailable"
        assert "unsealed" not in notes_service.effects
        assert sealed_of(line, str(refusal.call_id)) == [{"field": "arguments", "omitted": "not_sealed"}]
        assert line.outcome(str(refusal.call_id))["status"] == "refused"
        assert kept(line, str(refusal.call_id)) == {}

    in_line(case)


def test_a_result_that_cannot_be_sealed_is_withheld(
    in_line: InLine, written: Written, notes_service: NotesService
) -> None:
    """architecture.md: an answer is released only once all that must be recorded of it is durable."""
    record(written, "result")

    async def case(line: Line) -> None:
        with patch.object(Vault, "sealed_payload", side_effect=MemoryError):
            refusal = await line.refused("notes_notes_write", {"id": "withheld result"})

        assert refusal.code == "audit_unavailable"
        assert "withheld result" in notes_service.effects
        assert line.outcome(str(refusal.call_id))["status"] == "withheld"
        assert kept(line, str(refusal.call_id)) == {}

    in_line(case)


@pytest.mark.usefixtures("impatient")
def test_a_result_that_was_withheld_is_not_kept(in_line: InLine, written: Written, notes: Notes) -> None:
    """policy.py: `result` is what was released, and this was not; its arguments are kept all the same."""
    record(written, "arguments", "result")

    async def case(line: Line) -> None:
        lock = locked(line.database)

        async def then_lock(call: Any, session: Any) -> Any:
            result = await write(call, session)
            lock.__enter__()
            return result

        notes.behaves = then_lock
        refusal = await line.refused("notes_notes_misbehave", {"id": "n1"})
        lock.__exit__(None, None, None)
        await line.parts.recorder.settle()

        assert line.outcome(str(refusal.call_id))["status"] == "withheld"
        assert [one["field"] for one in sealed_of(line, str(refusal.call_id))] == ["arguments"]
        assert list(kept(line, str(refusal.call_id))) == ["arguments"]

    in_line(case)


@pytest.mark.usefixtures("impatient")
def test_what_is_sealed_is_kept_with_its_record_however_late_that_is(in_line: InLine, written: Written) -> None:
    """One commit: where the record cannot be written, the value is not there either; both come together."""
    record(written, "arguments")

    async def case(line: Line) -> None:
        with locked(line.database):
            refusal = await line.refused("notes_notes_read", {"id": "n1"})
        answer = await line.call("notes_notes_read", {"id": "n2"})

        assert refusal.code == "audit_unavailable"
        assert kept(line, str(refusal.call_id)) == {}
        assert opened(line, answer.call_id) == {"arguments": {"id": "n2"}}

    in_line(case)


def test_what_has_the_shape_of_a_credential_is_sealed_by_nobody(
    in_line: InLine, written: Written, notes: Notes
) -> None:
    """docs/modules/redact.md: arguments are kept as results leave, without anybody's tokens."""
    record(written, "arguments", "result")

    async def echo(call: Any, session: Any) -> Any:
        await read(call, session)
        return {"id": "n1", "text": f"it is {SHAPE}"}

    notes.behaves = echo

    async def case(line: Line) -> None:
        answer = await line.call("notes_notes_misbehave", {"id": "n1", "note": f"use {SHAPE}", SHAPE: 1})

        values = opened(line, answer.call_id)
        assert values["arguments"]["note"] == "use [credential removed]"
        assert values["result"]["text"] == "it is [credential removed]"
        assert SHAPE not in repr(values)

    in_line(case)


def test_a_result_that_holds_the_calls_credential_is_not_kept(in_line: InLine, written: Written, notes: Notes) -> None:
    """Issue 2, Vault: no token anywhere; encrypted is somewhere."""
    record(written, "result")

    async def leak(call: Any, session: Any) -> Any:
        await read(call, session)
        return {"id": "n1", "text": TOKEN}

    notes.behaves = leak

    async def case(line: Line) -> None:
        refusal = await line.refused("notes_notes_misbehave", {"id": "n1"})

        assert refusal.code == "leak_blocked"
        assert kept(line, str(refusal.call_id)) == {}

    in_line(case)
