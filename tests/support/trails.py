"""Trails for tests of what is made from them: calls and events in few words, and a search that is too simple to err."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from broker.audit import Filter, Record
from broker.store import Store, Transaction

Said = Mapping[str, Any]
_PARTS = {
    "agent": "identity",
    "workload": "identity",
    "owner": "identity",
    "team": "identity",
    "resource": "action",
    "action": "action",
    "decision": "policy",
    "code": "outcome",
}


def record(kind: str, time: str, call_id: str | None = None, **facts: str | None) -> Record:
    """Return a record that says of the facts what its kind says of them."""
    made: dict[str, Any] = {"id": "0", "kind": kind, "time": time} | ({} if call_id is None else {"call_id": call_id})
    for name, value in facts.items():
        made.setdefault(_PARTS[name], {})["spiffe_id" if name == "workload" else name] = value
    return made


def call(call_id: str, time: str = "2026-11-24T08:00:00.000Z", **facts: str | None) -> list[Record]:
    """Return the three records of a call."""
    asked = {name: value for name, value in facts.items() if _PARTS[name] in {"identity", "action"}}
    return [
        record("requested", time, call_id, **asked),
        record("decided", time, call_id, decision=facts.get("decision", "permit")),
        record("finished", time, call_id, code=facts.get("code")),
    ]


def write(store: Store, records: Iterable[Record]) -> None:
    """Append records, at once: tests of the index need no durable ones."""
    connection = store._connected()
    transaction = Transaction(connection, {store.trail.HEAD: store.trail.restore(connection)})
    connection.execute("BEGIN")
    for one in records:
        store.trail.append(transaction, one)
    transaction.flush()
    connection.execute("COMMIT")
    connection.close()


def index(store: Store, batches: Iterable[int] = (1000,)) -> None:
    """Let the index catch up, in batches of these sizes, again and again."""
    with store.reading() as connection:
        (size,) = connection.execute("SELECT count(*) FROM records").fetchone()
    for batch in itertools.cycle(batches):
        if not store.search.catch_up(batch) and store.search.size == size:
            return


def found(store: Store, wanted: Filter, page: int = 50) -> list[int]:
    """Return the numbers of the entries that match, newest first, a page at a time."""
    numbers: list[int] = []
    while entries := store.search.search(wanted, numbers[-1] if numbers else None, page):
        numbers += [entry["seq"] for entry in entries]
    return numbers


def selected(store: Store, wanted: Filter, start: int, stop: int) -> list[int]:
    """Return the numbers of the records whose entries match."""
    ranges = list(store.search.selected(wanted, start, stop))
    assert all(one < other for (_, one), (other, _) in itertools.pairwise(ranges)), "ranges that could be one"
    return [seq for first, last in ranges for seq in range(first, last)]


def matching(records: Iterable[Record], wanted: Filter) -> dict[int, list[int]]:
    """Return the records' numbers by entry, of the entries that match."""
    entries: dict[Any, list[int]] = {}
    whole: dict[Any, dict[str, Any]] = {}
    for seq, one in enumerate(records):
        key = one.get("call_id", seq)
        entries.setdefault(key, []).append(seq)
        whole.setdefault(key, dict(one)).update({name: one[name] for name in set(_PARTS.values()) & one.keys()})
    query = wanted.query()
    return {seqs[0]: seqs for key, seqs in entries.items() if _matches(whole[key], query)}


def _matches(whole: Said, wanted: Mapping[str, str]) -> bool:
    def fact(name: str) -> Any:
        return whole.get(_PARTS[name], {}).get("spiffe_id" if name == "workload" else name)

    query = dict(wanted)
    since, until, agent = (query.pop(name, None) for name in ("since", "until", "agent"))
    return (
        (since is None or since <= whole["time"])
        and (until is None or whole["time"] < until)
        and (agent is None or agent in {fact("agent"), fact("workload")})
        and all(fact(name) == value for name, value in query.items())
    )


def clock(start: int, step: int) -> Iterator[str]:
    """Yield moments, so many seconds apart; back in time, if the step is negative."""
    for number in itertools.count(start, step):
        yield f"2026-11-24T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"
