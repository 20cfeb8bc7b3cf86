"""What one call has to do with a person's decision: it uses an approval, or asks for one."""

import dataclasses
from dataclasses import dataclass, field
from typing import Protocol

from broker.audit import Record, timestamp
from broker.errors import ApprovalNeeded, ApprovalRefused
from broker.policy import Decision
from broker.store import ApprovalRow, Transaction


class Rows(Protocol):
    """Where requests are kept."""

    def add(self, transaction: Transaction, row: ApprovalRow, sealed: bytes) -> None:
        """Insert a request, unless it stands already."""
        ...

    def consume(self, transaction: Transaction, approval_id: str, call_id: str, now: str) -> bool:
        """Note which call uses an approval; False if there is none to be used any more."""
        ...


class Settled(Protocol):
    """Is told what became of it."""

    def __call__(self, asked: "Asked", *, durable: bool) -> None:
        """Note whether the commit that it was part of stands."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as one call finds or makes it."""

    row: ApprovalRow
    _sealed: bytes = field(repr=False)
    _decision: Decision
    call_id: str
    _rows: Rows
    _settled: Settled

    @property
    def decision(self) -> Decision:
        """What is decided: a permit, if a person has approved exactly this."""
        if self.row.status != "approved":
            return self._decision
        return dataclasses.replace(self._decision, effect="permit", reason="approved")

    def enforce(self) -> None:
        """Return if a person has approved; raise `ApprovalNeeded` or `ApprovalRefused` otherwise."""
        row = self.row
        if row.status == "refused":
            raise ApprovalRefused(approval=row.id)
        if row.status == "pending":
            raise ApprovalNeeded(
                f"An operator must approve {row.action!r} on {row.resource} with exactly these arguments. Request "
                f"{row.id} waits until {row.expires}; repeat the call, unchanged, once it is approved.",
                approval=row.id,
            )

    def hold(self, transaction: Transaction) -> None:
        """Use the approval, in the call's first commit; raise `ApprovalNeeded` if it cannot be used any more."""
        if self.row.status == "approved" and not self._rows.consume(
            transaction, self.row.id, self.call_id, timestamp()
        ):
            raise ApprovalNeeded("The approval of this call has been used, or has ended; call again to ask anew.")

    def keep(self, transaction: Transaction) -> None:
        """Write the request, in the commit of the refusal that names it."""
        if self.row.status == "pending":
            self._rows.add(transaction, self.row, self._sealed)

    def settled(self, *, durable: bool) -> None:
        """Say whether the commit stands in which the approval was used, or the request written."""
        self._settled(self, durable=durable)

    def record(self) -> Record:
        """Return what the call's record says of it."""
        by = self.row.actor["user"] if self.row.actor is not None else None
        return {"id": self.row.id, "status": self.row.status, "by": by}
