"""Records as the pipeline writes them, with what a test says of them, straight into a store."""

from typing import Any

from broker.store import Store, Transaction

NOON = "2026-11-23T12:00:00.000Z"


def append_call(store: Store, transaction: Transaction, call_id: str, **facts: str) -> None:
    """Append the three records of a call."""
    for record in call_records(call_id, **facts):
        store.trail.append(transaction, record)


def call_records(call_id: str, **facts: str) -> list[dict[str, Any]]:
    """Return the three records of a call; what `facts` do not name, each has in common."""
    time = facts.get("time", NOON)
    identity = {
        "spiffe_id": facts.get("workload", "spiffe://prod/agent/common"),
        "agent": facts.get("agent", "common"),
        "owner": facts.get("owner", "common"),
        "team": facts.get("team", "common"),
    }
    action = {"resource": facts.get("resource", "common.things"), "action": facts.get("action", "read")}
    return [
        {"call_id": call_id, "kind": "requested", "time": time, "identity": identity, "action": action},
        {"call_id": call_id, "kind": "decided", "time": NOON, "policy": {"decision": facts.get("decision", "permit")}},
        {"call_id": call_id, "kind": "finished", "time": NOON, "outcome": {"code": facts.get("code")}},
    ]
