"""What may be shown and recorded of a stored grant."""

import json
from dataclasses import dataclass

from broker.audit import Record, new_id, timestamp
from broker.store import GrantRow


@dataclass(frozen=True, slots=True)
class Grant:
    """What may be shown of a stored authorisation. `person` is (issuer, subject) of whose it is; None: nobody's own."""

    id: str
    connector: str
    principal: str
    kind: str
    status: str
    client_id: str
    subject: str
    created: str
    changed: str
    scopes: tuple[str, ...] = ()
    person: tuple[str, str] | None = None


def shown(row: GrantRow) -> Grant:
    """Return what may be shown of a row."""
    public = json.loads(row.public)
    person = public.get("person")
    return Grant(
        row.id,
        row.connector,
        row.principal,
        row.kind,
        row.status,
        public["client_id"],
        public["subject"],
        row.created,
        row.changed,
        tuple(row.scopes.split()),
        None if person is None else (person[0], person[1]),
    )


def event(kind: str, row: GrantRow, actor: Record, **facts: object) -> Record:
    """Return the record of something that happened to a grant."""
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": kind,
        "actor": dict(actor),
        "grant": {"id": row.id, "connector": row.connector, "principal": row.principal, "kind": row.kind},
        **facts,
    }
