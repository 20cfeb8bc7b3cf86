"""Approvals: a person decides once, for exactly one agent, tool and arguments; used once, or not in time."""

import asyncio
import dataclasses
import datetime
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from broker.audit import Record, new_id, timestamp
from broker.control.asked import Asked
from broker.control.binding import Basis, basis_of, is_current, to_read, whole
from broker.control.deciding import check_may_decide, is_open
from broker.control.records import approval_event
from broker.documents import Snapshot
from broker.errors import ApprovalNeeded, AuditUnavailable, NotFound, TooManyApprovals
from broker.policy import AccessRequest, Decision
from broker.store import ApprovalRow, ApprovalStatus, Store, Transaction
from broker.vault import Vault

MOST_PENDING = 20  # of one agent, at once
_KEPT_DAYS = 30  # in the table, of what has ended; the trail has it for longer
_FIELD = "approval"
Change = Callable[[Transaction], None]


class Approvals:
    """What people are asked to decide. Used from one event loop; what is durable is what the store says."""

    def __init__(
        self,
        store: Store,
        digest: Callable[[bytes], str],
        vault: Vault,
        announce: Callable[[ApprovalRow], None],
        owe: Callable[[Change], None],
    ) -> None:
        """`digest` is keyed; `announce` is told of each new request once it is durable; `owe` keeps a lost change."""
        self._store = store
        self._digest = digest
        self._vault = vault
        self._announce = announce
        self._owe = owe
        self._live: dict[str, ApprovalRow] = {}
        """By digest: what is pending, approved and not used, or refused."""
        self._used: set[str] = set()
        """Approvals that a call is about to use: no other call may count on them."""
        self._late: list[ApprovalRow] = []
        """What has expired and made room, and is still to be ended."""
        self._told: set[str] = set()
        """Requests that have been announced."""

    async def start(self) -> None:
        """Take up what was undecided or unused when the last broker ended."""
        table = self._store.approvals
        for row in await asyncio.to_thread(self._store.read, lambda connection: table.live(connection, timestamp())):
            if row.digest in self._live:
                self._late.append(self._live[row.digest])
            self._live[row.digest] = row

    @property
    def waiting(self) -> int:
        """How many requests are to be decided."""
        return sum(row.status == "pending" for row in self._live.values())

    # Of calls

    def ask(self, decision: Decision, access: AccessRequest, tool: str, call_id: str, snapshot: Snapshot) -> Asked:
        """Return what a person has decided of exactly this call, or a new request; raise `TooManyApprovals`.

        Nothing is durable yet: the caller's commits make it so.
        """
        assert access.agent is not None  # noqa: S101 - the registry knows who calls
        assert decision.approval is not None  # noqa: S101 - it is what is asked for
        basis = basis_of(decision, access.resource, snapshot)
        digest = self._digest(whole(decision, access, tool, basis))
        row = self._live.get(digest)
        if row is not None and row.expires <= timestamp():
            self._late.append(self._live.pop(digest))
            row = None
        if row is not None and row.id in self._used:
            raise ApprovalNeeded("Another call is using the approval of this one; each is approved once.")
        if row is None:
            row = self._new(decision, access, tool, call_id, digest, basis)
        if row.status == "approved":
            self._used.add(row.id)
        seen = to_read(decision, access)
        sealed = self._vault.sealed_payload(row.call_id, _FIELD, seen) if row.status == "pending" else b""
        return Asked(row, sealed, decision, call_id, self._store.approvals, self._settled)

    def _new(
        self, decision: Decision, access: AccessRequest, tool: str, call_id: str, digest: str, basis: Basis
    ) -> ApprovalRow:
        agent, approval = access.agent, decision.approval
        assert agent is not None  # noqa: S101 - `ask` has seen to both
        assert approval is not None  # noqa: S101
        waiting = Counter(row.workload for row in self._live.values() if row.status == "pending")
        if waiting[agent.workload] >= MOST_PENDING:
            raise TooManyApprovals
        row = ApprovalRow(
            new_id(),
            "pending",
            agent.workload,
            agent.name,
            agent.owner,
            tool,
            access.resource,
            access.action,
            digest,
            basis,
            approval.by,
            approval.exclude_owner,
            approval.expires_minutes,
            call_id,
            timestamp(),
            _in(approval.expires_minutes),
            webhook=approval.webhook,
        )
        self._live[digest] = row
        return row

    def _settled(self, asked: Asked, *, durable: bool) -> None:
        """Note what became of a call's use of an approval, or of its request."""
        row = asked.row
        if row.status == "approved":
            self._used.discard(row.id)
            if durable and self._live.get(row.digest) == row:
                del self._live[row.digest]
        elif row.status == "pending" and durable:
            self._live.setdefault(row.digest, row)
            if row.id not in self._told:
                self._told.add(row.id)
                self._announce(row)
        elif row.status == "pending" and self._live.get(row.digest) == row and row.id not in self._told:
            del self._live[row.digest]  # nobody can see it to decide it

    # Of people

    async def listed(self, count: int) -> list[ApprovalRow]:
        """Return the newest requests, the newest first."""
        return await asyncio.to_thread(
            self._store.read, lambda connection: self._store.approvals.last(connection, count)
        )

    async def find(self, approval_id: str) -> ApprovalRow:
        """Return a request; raise `NotFound`."""
        table = self._store.approvals
        row = await asyncio.to_thread(self._store.read, lambda connection: table.find(connection, approval_id))
        if row is None:
            raise NotFound(f"There is no request for approval {approval_id!r}.")
        return row

    async def show(self, approval_id: str, actor: Record, owners: Mapping[str, str]) -> dict[str, Any] | None:
        """Return what is to be decided, on record before; None once it is decided. Only for those who may decide."""
        row = await self.find(approval_id)
        check_may_decide(row, actor, owners.get(row.workload))
        table = self._store.approvals
        sealed = await asyncio.to_thread(self._store.read, lambda connection: table.sealed(connection, approval_id))
        if sealed is None or not is_open(row):
            return None
        opened = self._vault.opened_payload(row.call_id, _FIELD, sealed)
        record = approval_event("approval_shown", row, actor)
        await self._store.commits.commit(lambda change: self._store.trail.append(change, record))
        shown: dict[str, Any] = msgspec.json.decode(opened)
        return shown

    async def decide(
        self, approval_id: str, status: ApprovalStatus, reason: str, actor: Record, owners: Mapping[str, str]
    ) -> ApprovalRow:
        """Approve or refuse, once and for all; on record with it. `owners` are the agents' owners of now.

        Raises `NotFound` if there is nothing to decide any more, `OperatorForbidden` for whom it is not to decide.
        """
        row = await self.find(approval_id)
        check_may_decide(row, actor, owners.get(row.workload))
        if not is_open(row):
            raise NotFound(f"Request {approval_id} is {row.status}: there is nothing to decide.")
        decided = dataclasses.replace(row, status=status, expires=_in(row.minutes), actor=dict(actor), reason=reason)

        def change(transaction: Transaction) -> None:
            if not self._store.approvals.decide(transaction, decided):
                raise NotFound(f"Request {approval_id} has been decided or has ended meanwhile.")
            kind = "approval_granted" if status == "approved" else "approval_denied"
            self._store.trail.append(transaction, approval_event(kind, decided, actor, reason))

        await self._store.commits.commit(change)
        if row.digest in self._live and self._live[row.digest].id == row.id:  # not withdrawn while it was written
            self._live[row.digest] = decided
        return decided

    # Of time and change

    async def look(self, snapshot: Snapshot, barred: Callable[[str], bool]) -> None:
        """End what has expired, and what an agent's suspension or other documents have made void; on record."""
        now = [row for row in self._live.values() if row.id not in self._used]
        void = [(row, status) for row in now if (status := _ending(row, snapshot, barred)) is not None]
        for row, _ in void:  # from this moment on, whatever becomes of the record
            del self._live[row.digest]
        void += [(row, "expired") for row in self._late]
        self._late = []

        def change(transaction: Transaction) -> None:
            for row, status in void:
                if self._store.approvals.end(transaction, row.id, status):
                    self._store.trail.append(transaction, approval_event(f"approval_{status}", row, None))
            self._store.approvals.forget(transaction, _in(-_KEPT_DAYS * 24 * 60))

        self._told.intersection_update([row.id for row in self._live.values()])
        if void:
            try:
                await self._store.commits.commit(change)
            except AuditUnavailable:
                self._owe(change)  # as often as it is made, it does nothing to what has ended


def _ending(row: ApprovalRow, snapshot: Snapshot, barred: Callable[[str], bool]) -> ApprovalStatus | None:
    if row.expires <= timestamp():
        return "expired"
    if row.status == "refused":
        return None  # it stands until it expires
    return "withdrawn" if barred(row.workload) or not is_current(row.basis, snapshot) else None


def _in(minutes: int) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    return timestamp(moment.timestamp())
