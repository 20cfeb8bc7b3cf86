"""How the search index is asked: every question costs what its page and the number of facets cost, not the trail.

What is common is among the newest entries, and found by walking over some of them. For what is not, of each facet that
matches only the newest entry is looked up; the newest of these name the facets that the page is of.
"""

import sqlite3
from collections.abc import Iterator

from broker.audit import Filter
from broker.store.indexing import SPAN

_LAST = 1 << 62
_NEAREST = 2000  # entries to walk over: about what a thousand facets cost
_BETWEEN = "seq >= :start AND seq < :stop"
_PAGE = "SELECT seq FROM entries WHERE {these} ORDER BY seq DESC LIMIT :limit"
_NEAR = """
SELECT e.seq FROM (SELECT seq, facet FROM entries WHERE {these} ORDER BY seq DESC LIMIT :near) e
CROSS JOIN facets f ON f.id = e.facet WHERE {facts} ORDER BY e.seq DESC LIMIT :limit
"""
_PAGE_OF_FACETS = """
WITH newest AS MATERIALIZED (
  SELECT id, (SELECT seq FROM entries WHERE facet = id AND {these} ORDER BY seq DESC LIMIT 1) AS seq
  FROM facets WHERE {facts}
), leading AS MATERIALIZED (
  SELECT id FROM newest WHERE newest.seq IS NOT NULL ORDER BY newest.seq DESC LIMIT :limit
)
SELECT e.seq FROM leading CROSS JOIN entries e ON e.seq IN (
  SELECT seq FROM entries WHERE facet = leading.id AND {these} ORDER BY seq DESC LIMIT :limit
) ORDER BY e.seq DESC LIMIT :limit
"""
_MEMBERS = """
SELECT m.seq FROM members m CROSS JOIN entries e ON e.seq = m.entry
WHERE m.seq >= :start AND m.seq < :stop AND e.facet IN (SELECT id FROM facets WHERE {facts}){times} ORDER BY m.seq
"""
_AGENT = "(agent = :agent OR workload = :agent)"


def newest(connection: sqlite3.Connection, wanted: Filter, before: int | None, limit: int) -> list[int]:
    """Return the numbers of the newest entries that match, below `before`, the newest first."""
    found: list[int] = []
    for start, stop in _spans(connection, wanted):
        end = stop if before is None else min(stop, before)
        if start < end and len(found) < limit:
            found += _page(connection, wanted, {"start": start, "stop": end, "limit": limit - len(found)})
    return found


def members(connection: sqlite3.Connection, wanted: Filter, start: int, stop: int) -> Iterator[int]:
    """Yield the numbers of the records, start to stop - 1, whose entries match, in order."""
    query = _MEMBERS.format(facts=_facts(wanted) or "true", times=_times(wanted, "time", "time"))
    for (seq,) in connection.execute(query, {**wanted.query(), "start": start, "stop": stop}):
        yield seq


def of_run(connection: sqlite3.Connection, run: str, limit: int) -> list[int]:
    """Return the numbers of the first entries of a run, in order."""
    query = "SELECT entry FROM runs WHERE run = ? ORDER BY entry LIMIT ?"
    return [entry for (entry,) in connection.execute(query, (run, limit))]


def _page(connection: sqlite3.Connection, wanted: Filter, place: dict[str, int]) -> list[int]:
    """Return the newest entries of one range that match."""
    these, facts = _BETWEEN + _times(wanted, "time", "time"), _facts(wanted)
    given = {**wanted.query(), **place, "near": _NEAREST}
    page: list[int] = []
    for query in (_NEAR, _PAGE_OF_FACETS) if facts else (_PAGE,):
        page = [seq for (seq,) in connection.execute(query.format(these=these, facts=facts), given)]
        if len(page) == place["limit"]:
            break
    return page


def _facts(wanted: Filter) -> str:
    """Return what must be so of a facet; the values are parameters of the same names."""
    names = [name for name in wanted.query() if name not in {"since", "until"}]
    return " AND ".join(_AGENT if name == "agent" else f"{name} = :{name}" for name in names)


def _times(wanted: Filter, newest: str, oldest: str) -> str:
    """Return what must be so of a time, or of the newest and the oldest of several."""
    since = f" AND {newest} >= :since" if wanted.since is not None else ""
    return since + (f" AND {oldest} < :until" if wanted.until is not None else "")


def _spans(connection: sqlite3.Connection, wanted: Filter) -> Iterator[tuple[int, int]]:
    """Yield the ranges in which entries of the wanted time may stand, the newest first: clocks may have jumped."""
    if wanted.since is None and wanted.until is None:
        yield 0, _LAST
        return
    query = f"SELECT number FROM spans WHERE true{_times(wanted, 'newest', 'oldest')} ORDER BY number DESC"  # noqa: S608 - constants
    start = stop = -1
    for (number,) in connection.execute(query, wanted.query()).fetchall():
        if number + 1 == start:
            start = number
            continue
        if start >= 0:
            yield start * SPAN, stop * SPAN
        start, stop = number, number + 1
    if start >= 0:
        yield start * SPAN, stop * SPAN
