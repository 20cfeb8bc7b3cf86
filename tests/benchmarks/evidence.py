"""What evidence costs: durable appends beside a commit for each record, and everything that grows with the trail.

`python -m tests.benchmarks.evidence --records 10000,100000` prints JSON. The trails that grow are made of calls as the
pipeline records them, three records each, written many to a commit; each measurement is a process of its own, so that
its peak of memory is its own too.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from broker.audit import Head, Statement, new_id, seal, timestamp, verify
from broker.audit.verify import read_export
from broker.evidence.export import export_lines
from broker.store import Store, Transaction

LOG = "access.envisionai.dev/log/bench"
_BULK = 2000
_AGENTS = [(f"agent-{number}", f"owner-{number % 17}@example.com", f"team-{number % 5}") for number in range(40)]
_ACTIONS = ("read", "search", "update", "export")


def appends(place: Path, count: int, callers: int = 64) -> dict[str, float]:
    """Append records by so many callers, each durable before its caller goes on; beside one commit for each."""
    ours = asyncio.run(_append_together(place / "ours.db", count, callers))
    naive = _append_naively(place / "naive.db", max(count // 20, 200))
    return ours | {"naive_per_second": naive, "times_naive": ours["per_second"] / naive}


async def _append_together(path: Path, count: int, callers: int) -> dict[str, float]:
    store = Store.open(path, LOG)
    try:
        left, waits = iter(range(count)), list[float]()

        async def caller() -> None:
            for _ in left:
                began = time.perf_counter()
                await store.commits.commit(functools.partial(_append, store, {"kind": "note", "text": "x" * 500}))
                waits.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        seconds = time.perf_counter() - began
        p99 = statistics.quantiles(waits, n=100)[98]
        return {"per_second": count / seconds, "p99_ms": p99 * 1000}
    finally:
        store.close()


def _append(store: Store, facts: dict[str, Any], change: Transaction) -> None:
    store.trail.append(change, {"id": new_id(), "time": timestamp(), **facts})


def _append_naively(path: Path, count: int) -> float:
    """Write the same sealed records, each in a commit of its own, as an audit table usually is."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, body BLOB, hash BLOB)")
        head, began = Head(), time.perf_counter()
        for _ in range(count):
            record = {"id": new_id(), "time": timestamp(), "kind": "note", "text": "x" * 500}
            sealed, head = seal(LOG, head, record)
            connection.execute("INSERT INTO records VALUES (?, ?, ?)", (sealed.seq, sealed.body, sealed.hash))
        return count / (time.perf_counter() - began)


def write_trail(path: Path, count: int) -> float:
    """Write a trail of about so many records, quickly; return how many seconds it took."""
    store = Store.open(path, LOG)
    try:
        began = time.perf_counter()
        asyncio.run(_write_calls(store, count // 3))
        return time.perf_counter() - began
    finally:
        store.close()


async def _write_calls(store: Store, calls: int) -> None:
    for start in range(0, calls, _BULK):

        def change(transaction: Transaction, start: int = start) -> None:
            for number in range(start, min(start + _BULK, calls)):
                for record in call_records(number):
                    store.trail.append(transaction, record)

        await store.commits.commit(change)


def call_records(number: int) -> Iterator[dict[str, Any]]:
    """Yield the three records of a call, as the pipeline writes them."""
    call_id, moment = new_id(), timestamp(1_790_000_000 + number * 0.25)
    name, owner, team = _AGENTS[number * 7919 % len(_AGENTS)]
    action, denied = _ACTIONS[number % 4], number % 4 == len(_ACTIONS) - 1
    common = {"call_id": call_id, "time": moment}
    yield {
        **common,
        "id": new_id(),
        "kind": "requested",
        "run_id": f"{number // 5:032x}",
        "traceparent": f"00-{number // 5:032x}-{number:016x}-01",
        "identity": {
            "spiffe_id": f"spiffe://prod/agent/{name}",
            "method": "jwt-svid",
            "assurance": "workload",
            "proof": "sha256:" + "5" * 64,
            "key_id": "prod-1",
            "token_id": None,
            "agent": name,
            "owner": owner,
            "team": team,
            "environment": "production",
            "deployment": f"{name}-1",
        },
        "action": {
            "tool": f"salesforce_accounts_{action}",
            "resource": "salesforce.accounts",
            "action": action,
            "connector": "salesforce",
            "arguments_bytes": 34,
            "arguments_hmac": "a" * 64,
        },
        "origin": {
            "transport": "streamable-http",
            "source": "127.0.0.1",
            "client": "bench",
            "client_version": "1",
            "protocol": "2026-07-28",
        },
        "documents": "d" * 64,
    }
    rule = {"policy": f"{name}-policy", "sha256": "c" * 64, "place": "tools[0].deny" if denied else "tools[0].actions"}
    yield {
        **common,
        "id": new_id(),
        "kind": "decided",
        "policy": {
            "decision": "deny" if denied else "permit",
            "reason": "rule_denies" if denied else "rule_permits",
            "rules": [rule],
            "policies": [f"{name}-policy"],
        },
    }
    failed = not denied and number % 1000 == 1
    outcome: dict[str, Any] = {"status": "released", "code": None, "result_bytes": 812, "result_hmac": "b" * 64}
    if denied or failed:
        outcome = {
            "status": "refused" if denied else "failed",
            "code": "access_denied" if denied else "upstream_timeout",
        }
    credential = {"grant": "g" * 36, "kind": "jwt-bearer", "principal": "broker", "fingerprint": "f" * 16, "scopes": []}
    yield {
        **common,
        "id": new_id(),
        "kind": "finished",
        "outcome": {**outcome, "steps_us": {"decided": 400, "recorded": 1900, "executed": 5100, "finished": 5200}},
        "credential": None if denied else credential,
    }


def export(path: Path, to: Path) -> dict[str, float]:
    """Export a whole trail, as the operators' door does."""
    began = time.perf_counter()
    store = Store.open(path, LOG)
    try:
        head = store.commits.values[store.trail.HEAD]
        with store.reading() as connection, to.open("wb") as out:
            for line in export_lines(store.trail, connection, Statement.of(LOG, head), [(0, head.size)]):
                out.write(line + b"\n")
    finally:
        store.close()
    return _measured(began, head.size)


def check(file: Path) -> dict[str, float]:
    """Check an export, as `aam trail verify FILE` does."""
    began = time.perf_counter()
    stated, lines = read_export(file)
    report = verify(lines, stated)
    if not report.holds:
        raise RuntimeError(report.problem)
    return _measured(began, report.records)


def _measured(began: float, records: int) -> dict[str, float]:
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 2), "per_second": round(records / seconds), "peak_mb": round(peak)}


def growth(place: Path, sizes: list[int], told: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """Measure trails of different sizes."""
    rows = []
    for size in sizes:
        database, exported = place / f"{size}.db", place / f"{size}.jsonl"
        told(f"a trail of {size:,} records")
        written = write_trail(database, size)
        records = size // 3 * 3
        row: dict[str, Any] = {
            "records": records,
            "bulk_appended_per_second": round(records / written),
            "bytes_per_record": round(database.stat().st_size / records),
        }
        for name, arguments in {"export": (database, exported), "check": (exported,)}.items():
            told(f"{size:,} records: {name}")
            row[name] = _apart(name, *arguments)
        rows.append(row)
        database.unlink()
        exported.unlink()
    return rows


def _apart(name: str, *arguments: Path) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.evidence", "--one", name, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(ran.stdout)
    return measured


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", default="10000,100000,1000000")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, *paths = arguments.one
        measurements: dict[str, Callable[..., Any]] = {"export": export, "check": check}
        figures: Any = measurements[name](*map(Path, paths))
    else:
        with tempfile.TemporaryDirectory(prefix="aam-bench-") as place:
            sizes = [int(size) for size in arguments.records.split(",")]
            figures = {"appends": appends(Path(place), 20_000), "growth": growth(Path(place), sizes)}
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
