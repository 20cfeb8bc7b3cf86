"""Trails to measure on: records of calls as the pipeline writes them, many to a commit."""

import itertools
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from broker.audit import Record, new_id, timestamp
from broker.store import Store, Transaction

LOG = "access.envisionai.dev/log/bench"
BEGINNING = 1_790_000_000
RESOURCES = [f"salesforce.{name}" for name in ("accounts", "contacts", "leads", "cases", "tasks", "notes", "quotes")]
_OUTCOMES = (None,) * 90 + ("upstream_timeout",) * 4 + ("access_denied",) * 5 + ("invalid_arguments",)
_CALLS_AT_ONCE = 1000


def write_trail(path: Path, count: int) -> float:
    """Write a trail of so many records; return how many seconds that took."""
    with closing(Store.open(path, LOG)) as store:
        began = time.perf_counter()
        _write(store, count)
        return time.perf_counter() - began


def _write(store: Store, count: int) -> None:
    """Append records of calls, without waiting for a disk after each."""
    records = itertools.islice(_records(random.Random(1)), count)  # noqa: S311 - no secret
    connection = store.commits._connected()  # a million durable commits would be another measurement
    transaction = Transaction(connection, {store.trail.HEAD: store.trail.restore(connection)})
    while batch := list(itertools.islice(records, _CALLS_AT_ONCE)):
        connection.execute("BEGIN")
        for record in batch:
            store.trail.append(transaction, record)
        transaction.flush()
        connection.execute("COMMIT")


def _records(chance: random.Random) -> Iterator[Record]:
    """Yield records of calls for ever: half of them agent-0's, which never searches; one a second."""
    for number in itertools.count():
        agent = 0 if chance.random() < 0.5 else int(chance.paretovariate(1)) % 200
        action = chance.choice(("read", "update") if agent == 0 else ("read", "search", "search", "search"))
        call_id, moment = new_id(), timestamp(BEGINNING + number * 3)
        code = "leak_blocked" if number % 30_000 == 0 else chance.choice(_OUTCOMES)
        yield {
            "id": new_id(),
            "time": moment,
            "kind": "requested",
            "call_id": call_id,
            "run_id": None,
            "traceparent": None,
            "identity": {
                "spiffe_id": f"spiffe://prod/agent/agent-{agent}",
                "method": "jwt-svid",
                "assurance": "attested",
                "proof": "sha256:" + "0" * 64,
                "agent": f"agent-{agent}",
                "owner": f"owner-{agent % 40}@example.com",
                "team": f"team-{agent % 8}",
                "environment": "production",
                "deployment": f"agent-{agent}-1",
            },
            "action": {
                "tool": "salesforce",
                "resource": chance.choice(RESOURCES),
                "action": action,
                "connector": "salesforce",
                "arguments_bytes": 100,
                "arguments_hmac": "0" * 64,
            },
            "origin": {"transport": "streamable-http", "source": "127.0.0.1", "client": "bench"},
            "documents": "0" * 64,
        }
        decision = "deny" if code == "access_denied" else "permit"
        rules = [{"policy": "reads", "sha256": "0" * 64, "place": "tools[0].actions"}]
        policy = {"decision": decision, "reason": "rule_permits", "rules": rules, "policies": ["reads"]}
        yield {"id": new_id(), "time": moment, "kind": "decided", "call_id": call_id, "policy": policy}
        outcome: Record = {
            "status": "failed" if code else "released",
            "code": code,
            "result_bytes": 400,
            "steps_us": {},
        }
        credential = {"grant": new_id(), "kind": "jwt-bearer", "fingerprint": "nwoyjs6ft6woqo6f", "scopes": ["api"]}
        yield {
            "id": new_id(),
            "time": moment,
            "kind": "finished",
            "call_id": call_id,
            "outcome": outcome,
            "credential": credential,
        }
