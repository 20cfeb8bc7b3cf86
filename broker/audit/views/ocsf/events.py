"""Events that are no calls: a kind is a subject and what became of it, as `grant_added`, and both have their place."""

from broker.audit.views.entries import Entry
from broker.audit.views.ocsf.base import (
    FAILURE,
    LOW,
    OTHER,
    PRODUCT,
    SUCCESS,
    Event,
    actor,
    envelope,
    source,
    status,
)
from broker.audit.views.values import at, number_at, text_at

AUTHENTICATION, ENTITY_MANAGEMENT, APPLICATION_LIFECYCLE, DATASTORE_ACTIVITY = 3002, 3004, 6002, 6005
_REFUSED = "authentication_refused"
_OF_TRANSPORTS = {"operators": "operating system peer", "metrics": "bearer token"}
_PROTOCOLS = {
    **dict.fromkeys(("identity_unmapped", "identity_ambiguous", "insufficient_scope"), "OpenID"),
    "proof_revoked": "access key",
}
_LIFE = {
    "started": (3, "Start"),
    "stopped": (4, "Stop"),
    **dict.fromkeys(("recording_resumed", "clock_caught_up"), (6, "Enable")),
    "clock_set_back": (7, "Disable"),
}
_OF_THE_TRAIL = frozenset(
    {"trail", "checkpoint", "checkpoint_not", "bundle", "shipped_head", "index", "payload", "payloads"}
)
_TO_THE_TRAIL = {
    **dict.fromkeys(("exported", "made", "revealed"), (1, "Read")),
    **dict.fromkeys(("pruned", "erased"), (7, "Delete")),
    "rebuilt": (2, "Update"),
    "shipped": (OTHER, "Ship"),
    "missing": (OTHER, "Miss"),
    "rolled_back": (OTHER, "Roll back"),
}
_NOT_DONE = frozenset({"refused", "failed"})
_WRONG = frozenset({"checkpoint_not_shipped", "shipped_head_missing", "trail_rolled_back", "budget_overrun"})
_ENTITIES = frozenset(
    {
        "documents",
        "snapshot",
        "rollback",
        "grant",
        "consent",
        "access_key",
        "delegation",
        "token",
        "agent",
        "agents",
        "approval",
        "budget",
        "signing_key",
        "vault_key",
        "key",
        "hold",
    }
)
_CREATE, _READ, _UPDATE, _DELETE = (1, "Create"), (2, "Read"), (3, "Update"), (4, "Delete")
_TO_ENTITIES = {
    **dict.fromkeys(("added", "connected", "created", "made", "issued", "registered", "handed_in"), _CREATE),
    **dict.fromkeys(("fetched", "tested", "used", "shown", "announced"), _READ),
    **dict.fromkeys(
        ("loaded", "refused", "changed", "refreshed", "rotated", "rollback", "rolled_back", "failed", "denied"), _UPDATE
    ),
    **dict.fromkeys(("raised", "acknowledged", "recovered", "reconciled"), _UPDATE),
    "alerted": (OTHER, "Alert"),
    "overrun": (OTHER, "Overrun"),
    **dict.fromkeys(("revoked", "removed", "deleted", "released", "lifted"), _DELETE),
    **dict.fromkeys(("approved", "granted"), (10, "Activate")),
    **dict.fromkeys(("ended", "retired", "expired", "withdrawn"), (11, "Deactivate")),
    "suspended": (12, "Suspend"),
    "resumed": (13, "Resume"),
}
_PART_OF_EVERY_RECORD = frozenset({"id", "time", "kind", "seq", "v", "log", "prev_hash"})


def is_known(kind: str) -> bool:
    """Tell whether a kind of event has a class and an activity of its own, rather than those for anything else."""
    subject, became = _split(kind)
    if subject in _OF_THE_TRAIL:
        return became in _TO_THE_TRAIL
    return kind in _LIFE or kind == _REFUSED or (subject in _ENTITIES and became in _TO_ENTITIES)


def event_of(entry: Entry) -> Event:
    """Return the event of an entry that is no call."""
    subject, became = _split(entry.kind)
    if entry.kind == _REFUSED:
        made = _authentication(entry)
    elif entry.kind in _LIFE:
        made = _lifecycle(entry)
    elif subject in _OF_THE_TRAIL:
        made = _datastore(entry, *_TO_THE_TRAIL.get(became, (OTHER, became)))
    else:
        made = _entity(entry, subject, *_TO_ENTITIES.get(became, (OTHER, became)))
    made["message"] = entry.kind.replace("_", " ")
    made["unmapped"]["event"] = _facts(entry)
    return made


def _split(kind: str) -> tuple[str, str]:
    """Part a kind into its subject and what became of it; a kind of one word has no subject but itself."""
    for became in ("rolled_back", "handed_in"):
        if kind.endswith(f"_{became}"):
            return kind.removesuffix(f"_{became}"), became
    subject, _, became = kind.rpartition("_")
    return subject or kind, became


def _authentication(entry: Entry) -> Event:
    """Return a proof that was refused; whose it was is known only where it was a good proof of a barred agent."""
    made = envelope(entry, AUTHENTICATION, 1, "Logon", "security_control")
    code, workload = text_at(entry.event, "outcome", "code"), text_at(entry.event, "identity", "spiffe_id")
    transport = text_at(entry.event, "origin", "transport")
    made |= status(FAILURE, "Failure", code, text_at(entry.event, "outcome", "detail"))
    return made | {
        "severity_id": LOW,
        "user": {"uid": workload, "type_id": 4, "type": "Service"} if workload else {"name": "unknown"},
        "src_endpoint": source(text_at(entry.event, "origin", "source")),
        "service": {"name": f"{PRODUCT}: {transport}" if transport else PRODUCT},
        "auth_protocol_id": OTHER,
        "auth_protocol": _OF_TRANSPORTS.get(transport or "") or _PROTOCOLS.get(code or "", "SPIFFE"),
        "count": number_at(entry.event, "outcome", "count"),
        "action_id": 2,
        "action": "Denied",
        "disposition_id": 2,
        "disposition": "Blocked",
    }


def _lifecycle(entry: Entry) -> Event:
    """Return what became of the broker; the class has no actor: who stops a process is the system's to know."""
    made = envelope(entry, APPLICATION_LIFECYCLE, *_LIFE[entry.kind]) | status(SUCCESS, "Success")
    return made | {"app": {"name": PRODUCT, "version": text_at(entry.event, "version")}}


def _datastore(entry: Entry, activity_id: int, activity: str) -> Event:
    """Return what was done to the trail; the class asks by whom, and that may be the broker by itself."""
    made = envelope(entry, DATASTORE_ACTIVITY, activity_id, activity) | _ended(entry)
    log = text_at(entry.event, "log") or "trail"
    return made | {
        "actor": actor(entry.event) or {"app_name": PRODUCT},
        "src_endpoint": {"name": "operators" if actor(entry.event) else "broker"},
        "type_id": 1,
        "type": "Database",
        "database": {"name": log, "type_id": OTHER, "type": "Transparency log"},
    }


def _entity(entry: Entry, subject: str, activity_id: int, activity: str) -> Event:
    made = envelope(entry, ENTITY_MANAGEMENT, activity_id, activity) | _ended(entry)
    name, uid = _named(entry, subject)
    return made | {
        "actor": actor(entry.event),
        "entity": {
            "name": name,
            "uid": uid,
            "type_id": OTHER,
            "type": subject,
            "version": text_at(entry.event, "documents", "sha256") or text_at(entry.event, "sha256"),
        },
    }


def _named(entry: Entry, subject: str) -> tuple[str, str | None]:
    """Return the name and the id of what an event is about, as far as it says them."""
    uid = text_at(entry.event, "grant", "id") or text_at(entry.event, subject, "id")
    said = (at(entry.event, "grant", "connector"), at(entry.event, "connector"), at(entry.event, subject))
    by_name = (at(entry.event, subject, "name"), at(entry.event, "name"))
    return next((one for one in (*said, *by_name) if type(one) is str and one), subject), uid


def _ended(entry: Entry) -> Event:
    """Return how it ended: a change that is on record was made, unless the record says otherwise."""
    code = text_at(entry.event, "outcome", "code")
    failed = code is not None or entry.kind in _WRONG or _split(entry.kind)[1] in _NOT_DONE
    return status(*((FAILURE, "Failure") if failed else (SUCCESS, "Success")), code)


def _facts(entry: Entry) -> Event:
    return {name: value for name, value in (entry.event or {}).items() if name not in _PART_OF_EVERY_RECORD}
