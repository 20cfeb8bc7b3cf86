"""The kill switch: what operators say and what documents say both count, and the stricter wins."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit import new_id, timestamp
from broker.control import Barred, KillSwitch
from broker.errors import AuditUnavailable, NotFound
from broker.identity import Agent, Registry
from broker.store import Scope, Suspension
from tests.support.broker import Line, locked
from tests.support.documents import ANALYST, OTHER

InLine = Callable[[Callable[[Line], Awaitable[None]]], None]
JANE = {"user": "jane", "uid": 1000, "role": "admin"}
WORKLOADS = ("spiffe://prod/a", "spiffe://prod/b", "spiffe://prod/c")


def suspension(scope: Scope = "agent", subject: str = ANALYST, workloads: Iterable[str] = ()) -> Suspension:
    """Return a suspension that somebody is about to order."""
    return Suspension(new_id(), scope, subject, None, tuple(workloads), "Case 17", JANE, timestamp())


async def nothing_open(_barred: Barred) -> None:
    """Stand for doors behind which nothing is open."""


async def again(line: Line) -> KillSwitch:
    """Return the switch as the next broker on the same store finds it."""
    switch = KillSwitch(line.parts.documents, line.parts.store, line.parts.recorder.owe)
    await switch.start()
    return switch


def register(line: Line, **changes: Any) -> None:
    """Change the analyst's entry in the registry, as a change of documents does."""
    documents = line.parts.documents
    agents = dict(documents.current.registry.agents)
    agents[ANALYST] = dataclasses.replace(agents[ANALYST], **changes)
    documents.current = dataclasses.replace(documents.current, registry=Registry(agents.values()))


@pytest.mark.parametrize(
    ("ordered", "others"),
    [
        (suspension(), False),
        (suspension("team", "finance"), True),
        (suspension("all", ""), True),
    ],
)
def test_who_is_suspended_is_refused_also_after_a_restart(
    in_line: InLine, ordered: Suspension, *, others: bool
) -> None:
    """Issue 4, The kill switch: of one agent, a team or all; durable, with its own code."""

    async def case(line: Line) -> None:
        await line.parts.switch.suspend(ordered, nothing_open)

        refusal = await line.refused("notes_notes_read", {"id": "n1"})
        assert refusal.code == "agent_suspended"
        for switch in (line.parts.switch, await again(line)):
            assert (switch.bars(ANALYST), switch.bars(OTHER)) == (True, others)

    in_line(case)


@pytest.mark.parametrize("scope", ["agent", "team", "all"])
def test_resuming_takes_back_what_was_said_and_nothing_else(in_line: InLine, scope: Scope) -> None:
    """Issue 4, The kill switch: `resume` undoes it; who is barred for another reason as well stays barred."""
    subjects = {"agent": ANALYST, "team": "finance", "all": ""}

    async def case(line: Line) -> None:
        switch = line.parts.switch
        for each, subject in subjects.items():
            await switch.suspend(suspension(each, subject), nothing_open)  # type: ignore[arg-type]
        rest = [each for each in subjects if each != scope]

        await switch.resume(scope, subjects[scope], "over", JANE)
        still = switch.bars(ANALYST)
        for each in rest:
            await switch.resume(each, subjects[each], "over", JANE)  # type: ignore[arg-type]

        assert still
        assert not switch.bars(ANALYST)
        assert not (await again(line)).bars(ANALYST)
        with pytest.raises(NotFound):
            await switch.resume(scope, subjects[scope], "over", JANE)

    in_line(case)


@pytest.mark.parametrize("status", ["suspended", "retired"])
def test_the_stricter_of_document_and_operators_wins(in_line: InLine, status: Any) -> None:
    """Issue 4, The kill switch: status in a document and in the store both count."""

    async def case(line: Line) -> None:
        switch = line.parts.switch
        register(line, status=status)
        await switch.suspend(suspension(), nothing_open)
        both = await line.refused("notes_notes_read", {"id": "n1"})
        await switch.resume("agent", ANALYST, "over", JANE)
        document_alone = await line.refused("notes_notes_read", {"id": "n1"})
        register(line, status="active")

        assert both.code == document_alone.code == f"agent_{status}"
        assert not switch.bars(ANALYST)

    in_line(case)


def test_who_leaves_a_suspended_team_is_not_let_go(in_line: InLine) -> None:
    """Decision 50: moving an agent to another team in its document is no way around an operator."""

    async def case(line: Line) -> None:
        switch = line.parts.switch
        await switch.suspend(suspension("team", "finance", [ANALYST]), nothing_open)

        register(line, team="elsewhere")

        assert switch.bars(ANALYST)
        await switch.resume("team", "finance", "over", JANE)
        assert not switch.bars(ANALYST)

    in_line(case)


def test_who_joins_a_suspended_team_is_suspended_too(in_line: InLine) -> None:
    """Decision 50: a suspension of a team or of all holds for agents that are registered later."""

    async def case(line: Line) -> None:
        switch = line.parts.switch
        await switch.suspend(suspension("team", "new"), nothing_open)
        before = switch.bars(ANALYST)

        register(line, team="new")

        assert (before, switch.bars(ANALYST)) == (False, True)

    in_line(case)


def test_both_orders_are_on_record_with_actor_and_reason(in_line: InLine) -> None:
    """Issue 4, The kill switch: it is on record with its actor; each press of the button is."""

    async def case(line: Line) -> None:
        switch, one = line.parts.switch, suspension()
        await switch.suspend(one, nothing_open)
        await switch.suspend(suspension("all", ""), nothing_open)
        await switch.resume("agent", ANALYST, "over", JANE)

        (single,) = line.records(kind="agent_suspended")
        (everybody,) = line.records(kind="agents_suspended")
        (back,) = line.records(kind="agent_resumed")
        assert (single["actor"], single["reason"], single["workload"], single["agent"], single["suspension"]) == (
            JANE, "Case 17", ANALYST, "analyst", one.id
        )  # fmt: skip
        assert (everybody["all"], everybody["agents"]["count"]) == (True, 6)
        assert (back["actor"], back["reason"], back["lifted"]) == (JANE, "over", [one.id])

    in_line(case)


def test_a_suspension_that_cannot_be_recorded_is_in_force_and_owed(in_line: InLine, impatient: None) -> None:  # noqa: ARG001 - it gives up on the lock
    """Decision 50: a full disk does not keep an agent going; the record comes as soon as it can."""

    async def case(line: Line) -> None:
        switch = line.parts.switch
        with locked(line.database), pytest.raises(AuditUnavailable):
            await switch.suspend(suspension(), nothing_open)
        barred = switch.bars(ANALYST)
        await line.parts.recorder.settle()

        assert barred
        assert len(line.records(kind="agent_suspended")) == 1
        assert (await again(line)).bars(ANALYST)

    in_line(case)


def test_a_resumption_that_cannot_be_recorded_lets_nobody_in(in_line: InLine, impatient: None) -> None:  # noqa: ARG001 - it gives up on the lock
    """Audit fails closed: nobody is let in without a record of who let them."""

    async def case(line: Line) -> None:
        switch = line.parts.switch
        await switch.suspend(suspension(), nothing_open)

        with locked(line.database), pytest.raises(AuditUnavailable):
            await switch.resume("agent", ANALYST, "over", JANE)

        assert switch.bars(ANALYST)
        assert (await again(line)).bars(ANALYST)

    in_line(case)


def test_a_suspension_ordered_while_another_is_lifted_stands(in_line: InLine) -> None:
    """Two operators at once: what is lifted is what stood when it was, and memory and disk agree."""

    async def case(line: Line) -> None:
        switch = line.parts.switch
        await switch.suspend(suspension(), nothing_open)

        await asyncio.gather(switch.resume("agent", ANALYST, "over", JANE), switch.suspend(suspension(), nothing_open))

        assert switch.bars(ANALYST)
        assert (await again(line)).bars(ANALYST)

    in_line(case)


def test_the_record_stands_before_whatever_the_cut_ends(in_line: InLine) -> None:
    """The trail tells the story in order: suspended first, then the calls that it ended."""

    async def case(line: Line) -> None:
        async def cut(barred: Barred) -> None:
            assert barred(ANALYST)
            await line.parts.recorder.note("what_the_cut_ended")

        await line.parts.switch.suspend(suspension(), cut)

        assert [record["kind"] for record in line.records()[-2:]] == ["agent_suspended", "what_the_cut_ended"]

    in_line(case)


_SCOPES = st.one_of(
    st.tuples(st.just("agent"), st.sampled_from(WORKLOADS)),
    st.tuples(st.just("team"), st.sampled_from(["x", "y"])),
    st.just(("all", "")),
)
_ORDERS = st.lists(st.tuples(st.booleans(), _SCOPES), max_size=12)


@given(_ORDERS, st.lists(st.sampled_from(["x", "y"]), min_size=3, max_size=3))
def test_an_agent_may_call_exactly_if_nothing_that_holds_for_it_is_in_force(orders: Any, teams: list[str]) -> None:
    """Law: whatever was ordered in whatever order, an agent is barred as long as one suspension holds for it."""
    agents = [
        Agent(workload[-1], workload, "o", team, "e", "d") for workload, team in zip(WORKLOADS, teams, strict=True)
    ]
    model: set[tuple[str, str]] = set()

    async def case(switch: KillSwitch) -> None:
        for suspends, (scope, subject) in orders:
            if suspends:
                model.add((scope, subject))
                await switch.suspend(suspension(scope, subject), nothing_open)
            elif (scope, subject) in model:
                model.discard((scope, subject))
                await switch.resume(scope, subject, "over", JANE)
            for agent in agents:
                expected = model & {("agent", agent.workload), ("team", agent.team), ("all", "")}
                assert switch.bars(agent.workload) == bool(expected)

    anyio.run(_with_switch, agents, case)


async def _with_switch(agents: list[Agent], case: Callable[[KillSwitch], Awaitable[None]]) -> None:
    """Run a case with a switch whose store keeps rows in memory: what is durable is others' to test."""
    current = _Current(Registry(agents))
    await case(KillSwitch(_Documents(current), _Rows(), lambda _: None))  # type: ignore[arg-type]


@dataclasses.dataclass
class _Current:
    registry: Registry
    digest: str = ""


@dataclasses.dataclass
class _Documents:
    current: _Current


class _Rows:
    """Stands for the store: applies changes at once."""

    def __init__(self) -> None:
        self.rows: list[Suspension] = []
        self.suspensions = self.trail = self.commits = self

    def add(self, _transaction: Any, one: Suspension) -> None:
        self.rows.append(one)

    def lift(self, _transaction: Any, scope: str, subject: str, _time: str) -> list[str]:
        lifted = [one.id for one in self.rows if (one.scope, one.subject) == (scope, subject)]
        self.rows = [one for one in self.rows if one.id not in lifted]
        return lifted

    def append(self, _transaction: Any, _record: Any) -> None:
        pass

    def submit(self, change: Callable[[Any], Any]) -> Any:
        pending = type("Applied", (), {"done": asyncio.get_running_loop().create_future(), "applied": True})()
        pending.done.set_result(change(self))
        return pending

    async def durable(self, pending: Any) -> Any:
        return await pending.done

    async def commit(self, change: Callable[[Any], Any]) -> Any:
        return change(self)
