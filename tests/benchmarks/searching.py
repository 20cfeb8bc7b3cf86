"""Search: pages of an index over many records, and how fast it catches up."""

import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from broker.audit import Filter, timestamp
from broker.store import Store
from tests.benchmarks.trails import BEGINNING, LOG, RESOURCES

_BATCH = 2000
_PAGE = 50
_ROUNDS = 5


def measure_search(path: Path, count: int) -> dict[str, Any]:
    """Index a trail of so many records, and ask for pages of every kind: figures in milliseconds and bytes."""
    with closing(Store.open(path, LOG)) as store:
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
    late, early = timestamp(BEGINNING + count * 0.9), timestamp(BEGINNING + count * 0.1)
    single = {
        "nothing": Filter(),
        "since": Filter(since=late),
        "until": Filter(until=early),
        "a moment": Filter(since=early, until=timestamp(BEGINNING + count * 0.1 + 600)),
        "agent": Filter(agent="agent-0"),
        "a rare agent": Filter(agent="spiffe://prod/agent/agent-199"),
        "owner": Filter(owner="owner-1@example.com"),
        "team": Filter(team="team-2"),
        "resource": Filter(resource=RESOURCES[0]),
        "action": Filter(action="read"),
        "decision": Filter(decision="deny"),
        "code": Filter(code="access_denied"),
        "nobody": Filter(agent="nobody"),
        "agent and rare code": Filter(agent="agent-0", code="leak_blocked"),
        "two that never meet": Filter(agent="agent-0", action="search"),
        "everything": Filter(early, late, "agent-0", "owner-0@example.com", "team-0", RESOURCES[1], "read", "permit"),
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
