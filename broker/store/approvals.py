"""What people are asked to approve: one row for each request; its sealed part is there only until it is decided."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from broker.store.conditions import Queries
from broker.store.transaction import Transaction

ApprovalStatus = Literal["pending", "approved", "refused", "consumed", "withdrawn", "expired"]
_COLUMNS = (
    "id, status, workload, agent, owner, tool, resource, action, digest, basis, roles, exclude_owner, minutes, "
    "call_id, created, expires, actor, reason, consumed_by"
)
_LIVE = "status IN ('pending', 'approved')"
_JSON = ("basis", "roles", "actor")


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """One request, for one agent, tool and digest of everything that the call is.

    `basis` are the digests of the documents that it was asked under; `roles` those of operators who may decide.
    `expires` is until when it can be decided, and once approved, until when it can be used.
    """

    id: str
    status: ApprovalStatus
    workload: str
    agent: str
    owner: str
    tool: str
    resource: str
    action: str
    digest: str
    basis: Mapping[str, str | None]
    roles: tuple[str, ...]
    exclude_owner: bool
    minutes: int
    call_id: str
    created: str
    expires: str
    actor: Mapping[str, Any] | None = None
    reason: str | None = None
    consumed_by: str | None = None
    webhook: str | None = field(default=None, compare=False)
    """Where a link to it is sent; needed only until it is."""


class ApprovalTable:
    """Reads and writes requests."""

    def add(self, transaction: Transaction, row: ApprovalRow, sealed: bytes) -> None:
        """Insert a request, unless it stands already: every call that it is asked for says so."""
        values = [_written(name, getattr(row, name)) for name in _names()]
        marks = ", ".join("?" * (len(values) + 1))
        statement = f"INSERT INTO approvals ({_COLUMNS}, sealed) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
        transaction.execute(statement, (*values, sealed))

    def decide(self, transaction: Transaction, row: ApprovalRow) -> bool:
        """Note what a person has decided, and forget the sealed part; False if it is not to be decided any more."""
        statement = (
            "UPDATE approvals SET status = ?, expires = ?, actor = ?, reason = ?, sealed = NULL "
            "WHERE id = ? AND status = 'pending'"
        )
        values = (row.status, row.expires, _written("actor", row.actor), row.reason, row.id)
        return transaction.execute(statement, values).rowcount == 1

    def consume(self, transaction: Transaction, approval_id: str, call_id: str, now: str) -> bool:
        """Note which call uses an approval; False if there is none to be used any more."""
        statement = (
            "UPDATE approvals SET status = 'consumed', consumed_by = ? "
            "WHERE id = ? AND status = 'approved' AND expires > ?"
        )
        return transaction.execute(statement, (call_id, approval_id, now)).rowcount == 1

    def end(self, transaction: Transaction, approval_id: str, status: ApprovalStatus) -> bool:
        """End a request that nobody has used, and forget its sealed part; False if it has ended already."""
        statement = f"UPDATE approvals SET status = ?, sealed = NULL WHERE id = ? AND {_LIVE}"  # noqa: S608 - constants
        return transaction.execute(statement, (status, approval_id)).rowcount == 1

    def live(self, connection: Queries, now: str) -> list[ApprovalRow]:
        """Return what is pending or approved, and what is refused for some time to come, the oldest first."""
        live = f"{_LIVE} OR (status = 'refused' AND expires > ?)"
        query = f"SELECT {_COLUMNS} FROM approvals WHERE {live} ORDER BY created, id"  # noqa: S608 - constants
        return [_row(row) for row in connection.execute(query, (now,))]

    def last(self, connection: Queries, count: int) -> list[ApprovalRow]:
        """Return the newest requests, however they ended, the newest first."""
        query = f"SELECT {_COLUMNS} FROM approvals ORDER BY created DESC, id DESC LIMIT ?"  # noqa: S608 - constants
        return [_row(row) for row in connection.execute(query, (count,))]

    def find(self, connection: Queries, approval_id: str) -> ApprovalRow | None:
        """Return a request, or None."""
        row = connection.execute(f"SELECT {_COLUMNS} FROM approvals WHERE id = ?", (approval_id,)).fetchone()  # noqa: S608 - constants
        return None if row is None else _row(row)

    def sealed(self, connection: Queries, approval_id: str) -> bytes | None:
        """Return the sealed part of a request; None once it is decided."""
        row = connection.execute("SELECT sealed FROM approvals WHERE id = ?", (approval_id,)).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def forget(self, transaction: Transaction, before: str) -> None:
        """Delete requests that were made before then and have ended: the trail knows them."""
        transaction.execute(f"DELETE FROM approvals WHERE created < ? AND NOT ({_LIVE})", (before,))  # noqa: S608 - constants


def _names() -> list[str]:
    return _COLUMNS.split(", ")


def _written(name: str, value: Any) -> Any:
    return json.dumps(value if not isinstance(value, Mapping) else dict(value)) if name in _JSON else value


def _row(values: tuple[Any, ...]) -> ApprovalRow:
    given = dict(zip(_names(), values, strict=True))
    for name in _JSON:
        given[name] = None if given[name] is None else json.loads(given[name])
    row = ApprovalRow(**given)
    return dataclasses.replace(row, roles=tuple(row.roles), exclude_owner=bool(row.exclude_owner))
