"""Approvals: decided once, by a person who may, for exactly one agent, tool and arguments, and used once."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.control import Approvals
from broker.control.binding import whole
from broker.documents import load
from broker.errors import AuditUnavailable, NotFound, OperatorForbidden
from broker.identity import OnBehalfOf, WorkloadIdentity
from broker.policy import UNNARROWED, AccessRequest, Decision
from tests.control.test_switch import JANE, suspension
from tests.support.approving import APPROVER, OWNER, WRITE, approve, asked, need_approval, owners, refuse
from tests.support.broker import Line, locked
from tests.support.documents import ANALYST, OTHER, Written
from tests.support.notes import Notes, NotesService

InLine = Callable[[Callable[[Line], Awaitable[None]]], None]


@pytest.fixture(autouse=True)
def _policies(written: Written) -> None:
    need_approval(written)


async def again(line: Line) -> Approvals:
    """Return the approvals as the next broker on the same store finds them."""
    parts = line.parts
    approvals = Approvals(parts.store, parts.recorder.digest, parts.vault, lambda _: None, parts.recorder.owe)
    await approvals.start()
    return approvals


def change_policies(line: Line, notes: Notes, **approval: Any) -> None:
    """Bring other policies into force."""
    need_approval(line.written, **approval)
    line.parts.documents.current = load(line.written.directory, notes.find)


def test_a_call_is_made_once_a_person_has_approved_it(in_line: InLine, notes_service: NotesService) -> None:
    """Issue 4, Approval: refused with `approval_needed` and an id; approved once; used by the repeated call."""

    async def case(line: Line) -> None:
        approval_id = await asked(line, "made once")
        await approve(line, approval_id)
        before = notes_service.effects.count("made once")

        answer = await line.call(WRITE, {"id": "made once"})

        assert (before, notes_service.effects.count("made once")) == (0, 1)
        policy = line.story(answer.call_id)["decided"]["policy"]
        assert (policy["decision"], policy["reason"]) == ("permit", "approved")
        assert policy["asked"] == {"id": approval_id, "status": "approved", "by": "ann"}
        assert (await line.parts.approvals.find(approval_id)).consumed_by == answer.call_id

    in_line(case)


def test_everything_is_on_record_with_its_actor(in_line: InLine) -> None:
    """Issue 4, Approval: who was asked what by which call, who decided, and why."""

    async def case(line: Line) -> None:
        approval_id = await asked(line)
        (call,) = {record["call_id"] for record in line.records(kind="requested")}
        await line.parts.approvals.show(approval_id, APPROVER, owners(line))
        await approve(line, approval_id)

        story = line.story(call)
        assert story["decided"]["policy"]["asked"]["id"] == approval_id
        assert (story["finished"]["outcome"]["status"], story["finished"]["outcome"]["code"]) == (
            "refused",
            "approval_needed",
        )
        (shown,), (granted,) = line.records(kind="approval_shown"), line.records(kind="approval_granted")
        assert shown["actor"] == granted["actor"] == APPROVER
        assert (granted["reason"], granted["approval"]["id"]) == ("Looks right", approval_id)
        assert granted["approval"]["asked_by_call"] == call

    in_line(case)


def test_exact_arguments_are_sealed_until_they_are_decided_and_gone_then(in_line: InLine) -> None:
    """Issue 4, Approval: operators with the role see exact arguments, sealed until decided."""

    async def case(line: Line) -> None:
        approval_id = await asked(line, "SESAME")
        seen = await line.parts.approvals.show(approval_id, APPROVER, owners(line))
        stored = line.database.read_bytes() + line.database.with_name("broker.db-wal").read_bytes()
        await approve(line, approval_id)
        table = line.parts.store.approvals
        left = line.parts.store.read(lambda connection: table.sealed(connection, approval_id))

        assert seen is not None
        assert seen["arguments"] == {"id": "SESAME"}
        assert b"SESAME" not in stored
        assert left is None
        assert "SESAME" not in repr(line.records())
        assert await line.parts.approvals.show(approval_id, APPROVER, owners(line)) is None

    in_line(case)


@pytest.mark.parametrize(
    ("note", "workload"),
    [("n2", ANALYST), ("n1 ", ANALYST), ("n1", OTHER)],
)
def test_an_approval_is_for_nothing_else(in_line: InLine, note: str, workload: str) -> None:
    """Issue 4, Approval: exactly that agent and digest; changed arguments and other agents need their own."""

    async def case(line: Line) -> None:
        approval_id = await asked(line)
        await approve(line, approval_id)

        assert await asked(line, note, workload) != approval_id

    in_line(case)


def test_a_replay_needs_another_approval(in_line: InLine) -> None:
    """Issue 4, Approval: used once."""

    async def case(line: Line) -> None:
        approval_id = await asked(line)
        await approve(line, approval_id)
        await line.call(WRITE, {"id": "n1"})

        assert await asked(line) != approval_id

    in_line(case)


def test_of_retries_at_once_one_is_made(in_line: InLine, notes_service: NotesService) -> None:
    """Issue 4, Approval: consumed in the first commit of the retried call; the losers are refused."""

    async def case(line: Line) -> None:
        await approve(line, await asked(line, "once"))

        outcomes = await asyncio.gather(*(line.call(WRITE, {"id": "once"}) for _ in range(8)), return_exceptions=True)

        refused = [one for one in outcomes if isinstance(one, BaseException)]
        assert len(refused) == 7
        assert {one.code for one in refused} == {"approval_needed"}  # type: ignore[attr-defined]
        assert notes_service.effects.count("once") == 1

    in_line(case)


def test_even_two_brokers_memories_cannot_use_an_approval_twice(in_line: InLine, notes_service: NotesService) -> None:
    """The store decides, inside the commit: what memory believes is not enough."""

    async def case(line: Line) -> None:
        await approve(line, await asked(line, "stored once"))
        stale = await again(line)
        await line.call(WRITE, {"id": "stored once"})
        line.parts.pipeline._approvals = stale

        refusal = await line.refused(WRITE, {"id": "stored once"})

        assert refusal.code == "approval_needed"
        assert notes_service.effects.count("stored once") == 1
        assert line.outcome(str(refusal.call_id))["status"] == "refused"

    in_line(case)


def test_an_approval_and_its_use_survive_a_restart(in_line: InLine) -> None:
    """Durable: pending, approved and refused are known to the next broker; what was used stays used."""

    async def case(line: Line) -> None:
        for note in ("pending", "approved", "refused", "used"):
            await asked(line, note)
        ids = {row.call_id: row.id for row in await line.parts.approvals.listed(10)}
        by_note = dict(zip(("pending", "approved", "refused", "used"), reversed(ids.values()), strict=False))
        await approve(line, by_note["approved"])
        await refuse(line, by_note["refused"])
        await approve(line, by_note["used"])
        await line.call(WRITE, {"id": "used"})

        line.parts.pipeline._approvals = line.parts.approvals = await again(line)

        assert await asked(line, "pending") == by_note["pending"]
        assert (await line.refused(WRITE, {"id": "refused"})).code == "approval_refused"
        assert await asked(line, "used") != by_note["used"]
        assert (await line.call(WRITE, {"id": "approved"})).text

    in_line(case)


def test_a_refusal_is_final_as_long_as_the_request_lasts(in_line: InLine) -> None:
    """Issue 4, Approval: they approve or refuse once; nobody is asked the same again and again."""

    async def case(line: Line) -> None:
        approval_id = await asked(line)
        await refuse(line, approval_id)

        refusal = await line.refused(WRITE, {"id": "n1"})

        assert (refusal.code, refusal.facts["approval"]) == ("approval_refused", approval_id)
        with pytest.raises(NotFound):
            await approve(line, approval_id)

    in_line(case)


@pytest.mark.parametrize("status", ["pending", "approved", "refused"])
def test_what_has_expired_is_nothing(in_line: InLine, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """Issue 4, Approval: until it expires; then it cannot be decided, used, or held against anybody."""

    async def case(line: Line) -> None:
        monkeypatch.setattr("broker.control.approvals._in", lambda _: "2026-01-01T00:00:00.000Z")
        approval_id = await asked(line)
        if status != "pending":
            row = await line.parts.approvals.find(approval_id)
            line.parts.approvals._live[row.digest] = dataclasses.replace(row, status=status)  # type: ignore[arg-type]

        with pytest.raises(NotFound):
            await approve(line, approval_id)
        another = await asked(line)
        await line.parts.approvals.look(line.parts.documents.current, line.parts.switch.bars)
        table = line.parts.store.approvals
        sealed = [line.parts.store.read(partial(table.sealed, approval_id=one)) for one in (approval_id, another)]

        assert another != approval_id
        assert {record["approval"]["id"] for record in line.records(kind="approval_expired")} == {approval_id, another}
        assert sealed == [None, None]

    in_line(case)


@pytest.mark.parametrize("actor", [OWNER, {**APPROVER, "role": "auditor"}, {**APPROVER, "role": "admin"}])
def test_who_may_not_decide_sees_and_decides_nothing(in_line: InLine, actor: Any) -> None:
    """Issue 4, Approval: the approver role; owners of an agent are excluded unless the policy says otherwise."""

    async def case(line: Line) -> None:
        approval_id = await asked(line)

        for attempt in (approve, refuse):
            with pytest.raises(OperatorForbidden):
                await attempt(line, approval_id, actor)
        with pytest.raises(OperatorForbidden):
            await line.parts.approvals.show(approval_id, actor, owners(line))
        assert await asked(line) == approval_id

    in_line(case)


def test_a_policy_can_let_admins_and_owners_decide(in_line: InLine, written: Written) -> None:
    """Issue 4, Approval: owners may be excluded; that is the policy's to say."""
    need_approval(written, by="[admin, approver]", exclude_owner="false")

    async def case(line: Line) -> None:
        await approve(line, await asked(line, "by the owner"), {**OWNER, "role": "admin"})

        assert (await line.call(WRITE, {"id": "by the owner"})).text

    in_line(case)


def test_another_policy_document_voids_what_was_approved_under_the_first(in_line: InLine, notes: Notes) -> None:
    """Decision 51: an approval is given under the documents that were read; it does not survive their change."""

    async def case(line: Line) -> None:
        approval_id = await asked(line)
        await approve(line, approval_id)

        change_policies(line, notes, expires_minutes=61)
        another = await asked(line)
        await line.parts.approvals.look(line.parts.documents.current, line.parts.switch.bars)

        assert another != approval_id
        assert (await line.parts.approvals.find(approval_id)).status == "withdrawn"

    in_line(case)


@pytest.mark.parametrize("decided", [True, False])
def test_a_suspension_voids_what_was_asked_and_approved(in_line: InLine, *, decided: bool) -> None:
    """Decision 51: who comes back after a suspension asks anew."""

    async def case(line: Line) -> None:
        approval_id = await asked(line)
        if decided:
            await approve(line, approval_id)

        async def cut(barred: Any) -> None:
            await line.parts.approvals.look(line.parts.documents.current, barred)

        await line.parts.switch.suspend(suspension(), cut)
        await line.parts.switch.resume("agent", ANALYST, "over", JANE)

        assert await asked(line) != approval_id
        (withdrawn,) = line.records(kind="approval_withdrawn")
        assert withdrawn["approval"]["id"] == approval_id
        if not decided:
            with pytest.raises(NotFound):
                await approve(line, approval_id)

    in_line(case)


def test_an_agent_cannot_flood_people_with_requests(in_line: InLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 4, Approval: requests are bounded for each agent; another agent still gets through."""
    monkeypatch.setattr("broker.control.approvals.MOST_PENDING", 3)

    async def case(line: Line) -> None:
        first = [await asked(line, f"n{number}") for number in range(3)]
        same = await asked(line, "n0")

        refusal = await line.refused(WRITE, {"id": "one more"})

        assert refusal.code == "too_many_approvals"
        assert same == first[0]
        assert await asked(line, "other", OTHER)
        assert len(await line.parts.approvals.listed(10)) == 4

    in_line(case)


def test_a_request_that_cannot_be_recorded_does_not_exist(in_line: InLine, impatient: None) -> None:  # noqa: ARG001 - it gives up on the lock
    """Audit fails closed: a request is written in the commit of the refusal that names it, or not at all."""

    async def case(line: Line) -> None:
        with locked(line.database):
            lost = await line.refused(WRITE, {"id": "n1"})
        await line.parts.recorder.settle()
        rows = await line.parts.approvals.listed(10)
        approval_id = await asked(line)

        assert (lost.code, rows) == ("audit_unavailable", [])
        await approve(line, approval_id)
        assert (await line.call(WRITE, {"id": "n1"})).text

    in_line(case)


def test_a_decision_that_cannot_be_recorded_is_not_made(in_line: InLine, impatient: None) -> None:  # noqa: ARG001 - it gives up on the lock
    """Audit fails closed: nobody's approval counts that is not on record."""

    async def case(line: Line) -> None:
        approval_id = await asked(line)

        with locked(line.database), pytest.raises(AuditUnavailable):
            await approve(line, approval_id)

        assert await asked(line) == approval_id
        await approve(line, approval_id)

    in_line(case)


def test_a_call_whose_beginning_is_lost_uses_nothing(in_line: InLine, impatient: None) -> None:  # noqa: ARG001 - it gives up on the lock
    """The use stands with the call's first commit, and falls with it."""

    async def case(line: Line) -> None:
        await approve(line, await asked(line))

        with locked(line.database):
            lost = await line.refused(WRITE, {"id": "n1"})
        await line.parts.recorder.settle()

        assert lost.code == "audit_unavailable"
        assert (await line.call(WRITE, {"id": "n1"})).text

    in_line(case)


def test_two_people_who_decide_at_once_decide_once(in_line: InLine) -> None:
    """Issue 4, Approval: once; the second is told that there is nothing to decide any more."""

    async def case(line: Line) -> None:
        approval_id = await asked(line)

        outcomes = await asyncio.gather(approve(line, approval_id), refuse(line, approval_id), return_exceptions=True)

        assert [type(one) for one in outcomes].count(NotFound) == 1
        assert len(line.records(kind="approval_granted")) + len(line.records(kind="approval_denied")) == 1

    in_line(case)


_TEXT = st.text(max_size=4)
_CALLS = st.fixed_dictionaries(
    {
        "workload": st.sampled_from(["spiffe://prod/a", "spiffe://prod/b"]),
        "subject": st.none() | st.sampled_from(["x", "y"]),
        "tool": st.sampled_from(["notes_a_b", "notes_a"]),
        "arguments": st.dictionaries(_TEXT, _TEXT | st.integers(0, 2) | st.booleans(), max_size=2),
        "fields": st.none() | st.frozensets(st.sampled_from(["a", "b"])),
        "basis": st.dictionaries(st.sampled_from(["AgentPolicy x", "Connector notes"]), st.sampled_from(["1", "2"])),
    }
)


def digested(call: dict[str, Any]) -> bytes:
    """Return what is digested of a call."""
    behalf = OnBehalfOf("https://issuer", call["subject"], "oidc-login") if call["subject"] else None
    subject = WorkloadIdentity(call["workload"], "prod", "jwt-svid", "attested", "p", on_behalf_of=behalf)
    access = AccessRequest(subject, "write", "notes.a", call["arguments"])
    scope = dataclasses.replace(UNNARROWED, fields=call["fields"])
    decision = Decision("needs_approval", "approval_required", (), (), (), scope=scope)
    return whole(decision, access, call["tool"], call["basis"])


@given(_CALLS, _CALLS)
def test_two_calls_have_one_digest_only_if_they_are_one_call(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Law: an approval is for exactly one agent, person, tool, arguments, scope and set of documents."""
    same = repr(canonical_of(one)) == repr(canonical_of(other))

    assert (digested(one) == digested(other)) == same


def canonical_of(call: dict[str, Any]) -> Any:
    """Return a call in which nothing but what it says tells it from another."""
    fields = None if call["fields"] is None else sorted(call["fields"])
    said = {**call, "fields": fields, **{key: sorted(call[key].items()) for key in ("arguments", "basis")}}
    return sorted(said.items())


def test_a_tool_that_is_not_built_asks_nobody(in_line: InLine) -> None:
    """People are asked for what can be done only."""

    async def case(line: Line) -> None:
        refusal = await line.refused("notes_notes_archive", {"id": "n1"})

        assert await line.parts.approvals.listed(10) == []
        assert refusal.code == "action_not_built"

    in_line(case)
