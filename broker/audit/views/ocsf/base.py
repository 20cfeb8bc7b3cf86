"""What every OCSF event has: its class and activity, when, how it ended, and where it stands in the log."""

import ipaddress
from typing import Any, Literal

from broker.audit.canonical import canonical
from broker.audit.record import Record
from broker.audit.tree import leaf_hash
from broker.audit.views.entries import Entry
from broker.audit.views.values import at, milliseconds, number_at, text_at

VERSION = "1.8.0"
PRODUCT = "Agent Access Manager"
OTHER = 99
"""What OCSF calls everything that its lists do not name; the name beside it says what it is."""

INFORMATIONAL, LOW, MEDIUM, HIGH = 1, 2, 3, 4
UNKNOWN, SUCCESS, FAILURE = 0, 1, 2

Event = dict[str, Any]
Profile = Literal["security_control", "trace"]


def envelope(entry: Entry, class_uid: int, activity_id: int, activity: str, *profiles: Profile) -> Event:
    """Return what an entry says in any class."""
    last = entry.records[-1]
    return {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": class_uid // 1000,
        "class_uid": class_uid,
        "type_uid": class_uid * 100 + activity_id,
        "severity_id": INFORMATIONAL,
        "time": milliseconds(entry.time),
        "metadata": {
            "version": VERSION,
            "product": {"name": PRODUCT},
            "profiles": list(profiles),
            "uid": text_at(last, "id"),
            "event_code": entry.kind,
            "log_name": text_at(last, "log"),
            "sequence": entry.last,
            "original_time": entry.time,
            "correlation_uid": text_at(entry.requested, "run_id") or entry.call_id,
        },
        "unmapped": {"integrity": {"log": text_at(last, "log"), "records": [_place(one) for one in entry.records]}},
    }


def status(status_id: int, said: str, code: str | None = None, detail: str | None = None) -> Event:
    """Return how it ended; the detail is the broker's own words."""
    return {"status_id": status_id, "status": said, "status_code": code, "status_detail": detail}


def source(said: str | None) -> Event:
    """Return where something came from: an address where it is one."""
    try:
        return {"ip": str(ipaddress.ip_address((said or "").partition("%")[0]))}
    except ValueError:
        return {"name": said or "unknown"}


def actor(event: Record | None) -> Event | None:
    """Return the operator or the service that an event names; None if it names nobody."""
    user, service = text_at(event, "actor", "user"), text_at(event, "actor", "service")
    if user is not None:
        role = text_at(event, "actor", "role")
        return {
            "user": {"name": user, "uid": text_at(event, "actor", "uid"), "groups": [{"name": role}] if role else None}
        }
    return None if service is None else {"app_name": service}


def pruned(value: Any) -> Any:
    """Return a value without what says nothing: OCSF knows absent members, not null ones."""
    if type(value) is dict:
        kept = ((name, pruned(member)) for name, member in value.items() if member is not None)
        return {name: member for name, member in kept if member not in ({}, [])}
    if type(value) is list:
        return [pruned(member) for member in value]
    return value


def _place(record: Record) -> Event:
    """Return what finds a record in the log and its leaf in the tree."""
    try:
        leaf = leaf_hash(canonical(record)).hex()
    except ValueError:  # it is not as it was written; verify says so
        leaf = None
    return {
        "kind": at(record, "kind"),
        "id": at(record, "id"),
        "seq": number_at(record, "seq"),
        "leaf_hash": leaf,
        "prev_hash": at(record, "prev_hash"),
    }
