"""What evidence costs: durable appends beside a commit for each record, and everything that grows with the trail.

`python -m tests.benchmarks.evidence --records 10000,100000` prints JSON. The trails that grow are made of calls as the
pipeline records them; each measurement is a process of its own, so that
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

import uvloop

from broker.audit import Head, Statement, new_id, seal, timestamp, verify
from broker.audit.verify import read_export
from broker.evidence.export import export_lines
from broker.store import Store, Transaction
from tests.benchmarks.searching import measure_search
from tests.benchmarks.trails import LOG, write_trail


def appends(place: Path, count: int, callers: int = 64) -> dict[str, float]:
    """Append records by so many callers, each durable before its caller goes on; beside one commit for each.

    Beside both, rows of the same size that nobody seals or waits for, as many to a commit: what the machine allows.
    """
    naive = _append_naively(place / "naive.db", max(count // 20, 200))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the daemon has it
        ours = runner.run(_append_together(place / "ours.db", count, callers))
    bare = _append_bare(place / "bare.db", count, callers)
    naive = (naive + _append_naively(place / "again.db", max(count // 20, 200))) / 2  # before and after: disks vary
    return ours | {
        "naive_per_second": naive,
        "times_naive": ours["per_second"] / naive,
        "bare_per_second": bare,
        "of_bare": ours["per_second"] / bare,
    }


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


@contextlib.contextmanager
def _table(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, body BLOB, hash BLOB)")
        yield connection


def _append_bare(path: Path, count: int, together: int) -> float:
    """Write rows of a sealed record's size, so many to a commit."""
    row = seal(LOG, Head(), {"id": new_id(), "time": timestamp(), "kind": "note", "text": "x" * 500})[0]
    with _table(path) as connection:
        began = time.perf_counter()
        for start in range(0, count, together):
            connection.execute("BEGIN IMMEDIATE")
            rows = [(seq, row.body, row.hash) for seq in range(start, start + together)]
            connection.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
        return count / (time.perf_counter() - began)


def _append_naively(path: Path, count: int) -> float:
    """Write the same sealed records, each in a commit of its own, as an audit table usually is."""
    with _table(path) as connection:
        head, began = Head(), time.perf_counter()
        for _ in range(count):
            record = {"id": new_id(), "time": timestamp(), "kind": "note", "text": "x" * 500}
            sealed, head = seal(LOG, head, record)
            connection.execute("INSERT INTO records VALUES (?, ?, ?)", (sealed.seq, sealed.body, sealed.hash))
        return count / (time.perf_counter() - began)


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


def search(path: Path, count: Path) -> dict[str, Any]:
    """Index a trail and ask for pages of it."""
    return measure_search(path, int(str(count)))


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
        row: dict[str, Any] = {
            "records": size,
            "bulk_appended_per_second": round(size / written),
            "bytes_per_record": round(database.stat().st_size / size),
        }
        for name, arguments in {"export": (database, exported), "check": (exported,)}.items():
            told(f"{size:,} records: {name}")
            row[name] = _apart(name, *arguments)
        told(f"{size:,} records: search")
        row["search"] = _apart("search", database, size)
        rows.append(row)
        database.unlink()
        exported.unlink()
    return rows


def _apart(name: str, *arguments: Path | int) -> dict[str, float]:
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
        measurements: dict[str, Callable[..., Any]] = {"export": export, "check": check, "search": search}
        figures: Any = measurements[name](*map(Path, paths))
    else:
        with tempfile.TemporaryDirectory(prefix="aam-bench-") as place:
            sizes = [int(size) for size in arguments.records.split(",")]
            figures = {"appends": appends(Path(place), 20_000), "growth": growth(Path(place), sizes)}
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
