"""The kill switch: whether an agent may call now, by its document and by what operators said; the stricter wins."""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Iterable

from broker.audit import Record, timestamp
from broker.control.records import resumed, suspended
from broker.documents import Documents
from broker.errors import AgentBarred, AgentSuspended, AuditUnavailable, NotFound
from broker.identity import Agent, WorkloadIdentity
from broker.store import Pending, Scope, Store, Suspension, Transaction

Change = Callable[[Transaction], None]
Barred = Callable[[str], bool]
"""Tells of a workload whether its agent may no longer call."""
Cut = Callable[[Barred], Awaitable[None]]
"""Ends what is open for those who are barred."""


class KillSwitch:
    """Who may call now. Read it at every step that lets something in or out: it is never stale."""

    def __init__(self, documents: Documents, store: Store, owe: Callable[[Change], None]) -> None:
        """`owe` keeps a change that could not be written, to be written as soon as the store takes it."""
        self._documents = documents
        self._store = store
        self._owe = owe
        self._in_force: dict[str, Suspension] = {}
        self._everybody = False
        self._teams: frozenset[str] = frozenset()
        self._workloads: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Take up what was in force when the last broker ended."""
        for one in await asyncio.to_thread(self._store.read, self._store.suspensions.in_force):
            self._in_force[one.id] = one
        self._look()

    # Who may call

    def active(self, identity: WorkloadIdentity) -> Agent:
        """Return the agent that the identity is, if it may call now; raise `AgentBarred` otherwise."""
        return self.standing(identity.spiffe_id)

    def standing(self, workload: str) -> Agent:
        """Return the agent of a workload, if there is one and it may call now; raise `AgentBarred` otherwise."""
        agent = self._documents.current.registry.standing(workload, datetime.datetime.now(datetime.UTC))
        if self._everybody or workload in self._workloads or agent.team in self._teams:
            raise AgentSuspended(detail="suspended by an operator")
        return agent

    def bars(self, workload: str) -> bool:
        """Tell whether the agent of a workload may not call now."""
        try:
            self.standing(workload)
        except AgentBarred:
            return True
        return False

    def suspensions_of(self, agent: Agent) -> list[Suspension]:
        """Return what operators have said of an agent, the oldest first."""
        return [one for one in self._in_force.values() if _holds_for(one, agent)]

    @property
    def in_force(self) -> Iterable[Suspension]:
        """Return every suspension, the oldest first."""
        return self._in_force.values()

    # What operators do

    async def suspend(self, suspension: Suspension, cut: Cut) -> None:
        """Cut agents off: barred from the moment of the call, then on record, then everything open is ended.

        If it cannot be recorded, it is in force all the same, the record is owed, and `AuditUnavailable` says so.
        """
        self._in_force[suspension.id] = suspension
        self._look()
        agents = self.agents_of(suspension)
        record = suspended(suspension, agents, self._documents.current.digest)

        def change(transaction: Transaction) -> None:
            self._store.suspensions.add(transaction, suspension)
            self._store.trail.append(transaction, record)

        pending = self._store.commits.submit(change)  # before the cut: so it stands before what the cut ends
        pending.done.add_done_callback(lambda done: self._owe_if_lost(done, pending))
        await cut(self.bars)
        try:
            await self._store.commits.durable(pending)
        except AuditUnavailable as error:
            raise AuditUnavailable(
                "In force, and everything open is cut, but not on record yet: that is done as soon as the store works. "
                "A broker that stops before then forgets it; ask again.",
                detail=error.detail,
            ) from None

    async def resume(self, scope: Scope, subject: str, reason: str, actor: Record) -> list[str]:
        """Lift what operators have said of one agent, one team or everybody; return the ids of what was lifted.

        On record before anybody may call again. Raises `NotFound` if there is nothing to lift.
        """
        agents = [agent for agent in self._registered() if any(map(_is(scope, subject), self.suspensions_of(agent)))]

        def change(transaction: Transaction) -> list[str]:
            lifted = self._store.suspensions.lift(transaction, scope, subject, timestamp())
            if not lifted:
                raise NotFound("No operator has suspended that; 'aam agents suspensions' lists what is in force.")
            record = resumed(scope, subject, lifted, agents, reason, actor)
            self._store.trail.append(transaction, {**record, "documents": self._documents.current.digest})
            return lifted

        lifted = await self._store.commits.commit(change)
        for suspension_id in lifted:
            self._in_force.pop(suspension_id, None)
        self._look()
        return lifted

    def agents_of(self, suspension: Suspension) -> list[Agent]:
        """Return the registered agents that a suspension holds for."""
        return [agent for agent in self._registered() if _holds_for(suspension, agent)]

    def _registered(self) -> list[Agent]:
        return sorted(self._documents.current.registry.agents.values(), key=lambda agent: agent.name)

    def _owe_if_lost(self, done: "asyncio.Future[None]", pending: "Pending[None]") -> None:
        if done.cancelled() or done.exception() is None:
            return

        def again(transaction: Transaction) -> None:
            if not pending.applied:  # a commit that was said to be lost may stand
                pending.change(transaction)

        self._owe(again)

    def _look(self) -> None:
        """Note who is barred, so that asking costs next to nothing."""
        every = self._in_force.values()
        self._everybody = any(one.scope == "all" for one in every)
        self._teams = frozenset(one.subject for one in every if one.scope == "team")
        alone = (one.subject for one in every if one.scope == "agent")
        self._workloads = frozenset(alone).union(*(one.workloads for one in every if one.scope == "team"))


def _holds_for(one: Suspension, agent: Agent) -> bool:
    if one.scope == "team":
        return agent.team == one.subject or agent.workload in one.workloads
    return one.scope == "all" or agent.workload == one.subject


def _is(scope: Scope, subject: str) -> Callable[[Suspension], bool]:
    return lambda one: (one.scope, one.subject) == (scope, subject)
