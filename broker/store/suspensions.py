"""Suspensions: whom an operator has cut off, why, and until when. What was lifted stays, and says so."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker.store.conditions import Queries
from broker.store.transaction import Transaction

Scope = Literal["agent", "team", "all"]
_COLUMNS = "id, scope, subject, name, workloads, reason, actor, created"


@dataclass(frozen=True, slots=True)
class Suspension:
    """One cutting off, of one agent, of a team or of everybody, in force until it is lifted.

    `subject` is the agent's workload or the team's name; `name` is what the agent was called; `workloads` are those of
    the team when it was cut off: who leaves it meanwhile is not let go.
    """

    id: str
    scope: Scope
    subject: str
    name: str | None
    workloads: tuple[str, ...]
    reason: str
    actor: Mapping[str, Any]
    created: str


class SuspensionTable:
    """Reads and writes suspensions."""

    def add(self, transaction: Transaction, one: Suspension) -> None:
        """Insert a suspension, unless it stands already."""
        values = (
            one.id,
            one.scope,
            one.subject,
            one.name,
            json.dumps(one.workloads),
            one.reason,
            json.dumps(dict(one.actor)),
            one.created,
        )
        statement = f"INSERT INTO suspensions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
        transaction.execute(statement, values)

    def in_force(self, connection: Queries) -> list[Suspension]:
        """Return what is in force, the oldest first."""
        query = f"SELECT {_COLUMNS} FROM suspensions WHERE lifted IS NULL ORDER BY created, id"  # noqa: S608 - constants
        return [_suspension(row) for row in connection.execute(query)]

    def lift(self, transaction: Transaction, scope: Scope, subject: str, lifted: str) -> list[str]:
        """End every suspension of one agent, one team, or those of everybody; return the ids of those that ended."""
        ended = [one.id for one in self.in_force(transaction) if (one.scope, one.subject) == (scope, subject)]
        for suspension_id in ended:
            transaction.execute("UPDATE suspensions SET lifted = ? WHERE id = ?", (lifted, suspension_id))
        return ended


def _suspension(row: tuple[Any, ...]) -> Suspension:
    suspension_id, scope, subject, name, workloads, reason, actor, created = row
    return Suspension(
        suspension_id, scope, subject, name, tuple(json.loads(workloads)), reason, json.loads(actor), created
    )
