"""Records as the broker writes them, sealed into a log, for tests of what is made of them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

from broker.audit import Head, Record, new_id, seal
from broker.identity import Agent, OnBehalfOf, WorkloadIdentity
from broker.pipeline import Origin
from broker.pipeline.records import decided, finished, requested
from broker.policy import Decision, Rule

LOG = "access.envisionai.dev/log/test"
WORKLOAD = "spiffe://prod/agent/analyst"
RUN = "4bf92f3577b34da6a3ce929d0e0e4736"
RULE = Rule("analyst-notes", "ab" * 32, "tools[0].actions")
CREDENTIAL = {
    "grant": "0197-grant",
    "kind": "jwt-bearer",
    "principal": "subject",
    "fingerprint": "sha256:0123456789ab",
    "scopes": ["notes"],
}
LOGIN = WorkloadIdentity(
    WORKLOAD,
    "prod",
    "oidc",
    "federated",
    "sha256:0",
    key_id="key-1",
    on_behalf_of=OnBehalfOf("https://login.example.com", "jane", "oidc-login"),
    issuer="https://login.example.com",
    subject="jane",
)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
# What somebody may have made of a record: the names are ours, what stands there is anything
NAMED = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["requested", "decided", "finished", "started", "grant_added", "x"]) | ANYTHING,
        "call_id": st.sampled_from(["a", "b"]) | ANYTHING,
        **dict.fromkeys(
            ("identity", "action", "origin", "policy", "outcome", "credential", "grant", "actor", "time", "seq"),
            ANYTHING,
        ),
        "documents": ANYTHING,
    },
)


def sealed(records: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Return the canonical bytes of records, each in its place."""
    head, bodies = Head(), []
    for record in records:
        one, head = seal(LOG, head, record)
        bodies.append(one.body)
    return bodies


def placed(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return records as they are read from a log."""
    return [json.loads(body) for body in sealed(records)]


def call(
    status: str | None = "released",
    *,
    effect: str | None = "permit",
    time: str = "2026-11-10T09:00:00.000Z",
    code: str | None = None,
    action: str = "read",
    **said: Any,
) -> list[Record]:
    """Return the records of one call; without a status it has not finished, without an effect nothing is decided.

    `said` changes what *requested* says: `agent`, `owner`, `workload` or `identity`, or what the origin says.
    """
    call_id = new_id()
    agent = Agent(
        name=said.pop("agent", "analyst"),
        workload=said.get("workload", WORKLOAD),
        owner=said.pop("owner", "jane@example.com"),
        team="finance",
        environment="production",
        deployment="analyst-1",
    )
    workload = said.pop("workload", WORKLOAD)
    identity = said.pop("identity", WorkloadIdentity(workload, "prod", "jwt-svid", "development", "sha256:0"))
    trace = {"traceparent": f"00-{RUN}-00f067aa0ba902b7-01"}
    origin = Origin(**{"transport": "streamable-http", "source": "192.0.2.7", "client": "test", **trace, **said})
    asked = {
        "tool": f"notes_notes_{action}",
        "resource": "notes.notes",
        "action": action,
        "connector": "notes",
        "arguments_bytes": 12,
        "arguments_hmac": "cd" * 32,
    }
    records = [requested(call_id, time, identity, agent, asked, origin, "ef" * 32)]
    if effect is not None:
        records.append({**decided(call_id, _decision(effect)), "time": time})
    if status is not None:
        used = CREDENTIAL if status in {"released", "failed", "withheld"} else None
        steps = {"decided": 210, "recorded": 4_100, "executed": 90_005, "finished": 95_017}
        outcome = {"status": status, "code": code, "steps_us": steps}
        records.append({**finished(call_id, outcome, used), "time": time})
    return records


def event(kind: str, time: str = "2026-11-10T09:00:00.000Z", **facts: Any) -> Record:
    """Return the record of an event."""
    return {"id": new_id(), "time": time, "kind": kind, **facts}


def _decision(effect: str) -> Decision:
    if effect == "permit":
        return Decision("permit", "rule_permits", (RULE,), ("read",), ("analyst-notes",))
    return Decision("deny", "rule_denies", (RULE,), ("read",), ("analyst-notes",))
