"""Search: pages of an index over many records, and how fast it catches up."""

import itertools
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from broker.audit import Filter, Record, new_id, timestamp
from broker.store import Store, Transaction

_BEGINNING = 1_790_000_000
_CALLS_AT_ONCE = 1000
_BATCH = 2000
_PAGE = 50
_ROUNDS = 5
_OUTCOMES = (None,) * 90 + ("upstream_timeout",) * 4 + ("access_denied",) * 5 + ("invalid_arguments",)
_RESOURCES = [f"salesforce.{name}" for name in ("accounts", "contacts", "leads", "cases", "tasks", "notes", "quotes")]


def measure_search(place: Path, count: int) -> dict[str, Any]:
    """Index so many records, and ask for pages of every kind: figures in milliseconds, records a second and bytes."""
    with closing(Store.open(place / f"search-{count}.db", "access.envisionai.dev/log/bench")) as store:
        _write(store, count)
        began, slowest = time.perf_counter(), 0.0
        while store.search.size < count:
            batch = time.perf_counter()
            store.search.catch_up(_BATCH)
            slowest = max(slowest, time.perf_counter() - batch)
        caught_up = time.perf_counter() - began
        pages = {name: _page(store, wanted, before) for name, wanted, before in _questions(count)}
        began = time.perf_counter()
        selected = sum(stop - start for start, stop in store.search.selected(Filter(agent="agent-0"), 0, count))
        return {
            "records": count,
            "pages_ms": pages,
            "median_ms": statistics.median(pages.values()),
            "worst_ms": max(pages.values()),
            "caught_up_per_second": count / caught_up,
            "slowest_batch_ms": slowest * 1000,
            "selected": selected,
            "selected_seconds": time.perf_counter() - began,
            "bytes_per_record": store.search.path.stat().st_size / count,
        }


def _questions(count: int) -> Iterator[tuple[str, Filter, int | None]]:
    """Yield every single filter, rare and impossible pairs, and deep pages."""
    late, early = timestamp(_BEGINNING + count * 0.9), timestamp(_BEGINNING + count * 0.1)
    single = {
        "nothing": Filter(),
        "since": Filter(since=late),
        "until": Filter(until=early),
        "a moment": Filter(since=early, until=timestamp(_BEGINNING + count * 0.1 + 600)),
        "agent": Filter(agent="agent-0"),
        "a rare agent": Filter(agent="spiffe://prod/agent/agent-199"),
        "owner": Filter(owner="owner-1@example.com"),
        "team": Filter(team="team-2"),
        "resource": Filter(resource=_RESOURCES[0]),
        "action": Filter(action="read"),
        "decision": Filter(decision="deny"),
        "code": Filter(code="access_denied"),
        "nobody": Filter(agent="nobody"),
        "agent and rare code": Filter(agent="agent-0", code="leak_blocked"),
        "two that never meet": Filter(agent="agent-0", action="search"),
        "everything": Filter(early, late, "agent-0", "owner-0@example.com", "team-0", _RESOURCES[1], "read", "permit"),
        "long ago": Filter(until=early, decision="deny", action="read"),
        "rare and long ago": Filter(agent="agent-3", until=early, code="upstream_timeout"),
    }
    for name, wanted in single.items():
        yield name, wanted, None
        yield f"{name}, deep", wanted, count // 2
        yield f"{name}, at the end", wanted, 200


def _page(store: Store, wanted: Filter, before: int | None) -> float:
    """Return the median time of one page."""
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        store.search.search(wanted, before, _PAGE)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def _write(store: Store, count: int) -> None:
    """Append records of calls, without waiting for a disk after each."""
    records = itertools.islice(_records(random.Random(1)), count)  # noqa: S311 - no secret
    connection = store.commits._connected()  # a million durable commits would be another measurement
    transaction = Transaction(connection, {store.trail.HEAD: store.trail.restore(connection)})
    while batch := list(itertools.islice(records, _CALLS_AT_ONCE)):
        connection.execute("BEGIN")
        for record in batch:
            store.trail.append(transaction, record)
        connection.execute("COMMIT")


def _records(chance: random.Random) -> Iterator[Record]:
    """Yield records of calls for ever: half of them agent-0's, which never searches; one a second."""
    for number in itertools.count():
        agent = 0 if chance.random() < 0.5 else int(chance.paretovariate(1)) % 200
        action = chance.choice(("read", "update") if agent == 0 else ("read", "search", "search", "search"))
        call_id, moment = new_id(), timestamp(_BEGINNING + number * 3)
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
                "resource": chance.choice(_RESOURCES),
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
