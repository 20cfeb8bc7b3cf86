"""Retention: what records said is forgotten once it is past its time; that it was is on record, and holds win."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broker.audit import Head, Record, new_id, timestamp
from broker.store import Store, Transaction
from broker.store.pruning import Past, forget, past, ranges_of

_LOOKED_AT = 5000  # records, at once
_AT_ONCE = 1000  # records forgotten in one commit, and named in one record


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one step did: how many records it forgot, how many holds kept, and from which number to go on, if any."""

    count: int
    held: int
    reached: int
    size: int
    ranges: Sequence[Sequence[int]] = ()


async def prune(store: Store, before: str, start: int, reason: str, actor: Record, *, really: bool) -> Pruned:
    """Forget some of the records older than `before`, from the number `start` on; nothing, unless `really`.

    A call is forgotten as a whole, with what was recorded encrypted of it. Forgetting and its record are one commit.
    """
    head: Head = store.commits.values[store.trail.HEAD]
    stop = min(head.size, start + _LOOKED_AT)
    found = await asyncio.to_thread(store.read, lambda connection: past(connection, start, stop, before, _AT_ONCE))
    reached = found[-1][0] + 1 if len(found) == _AT_ONCE else stop
    if not found:
        return Pruned(0, 0, reached, head.size)
    if not really:
        free = await asyncio.to_thread(store.read, lambda connection: _free(store, connection, found))
        return Pruned(len(free), len(found) - len(free), reached, head.size)

    def change(transaction: Transaction) -> Pruned:
        again = past(transaction, start, stop, before, _AT_ONCE)  # a hold or a call may have come meanwhile
        free = _free(store, transaction, again)
        ranges = ranges_of([seq for seq, _ in free])
        if free:
            forget(transaction, [seq for seq, _ in free])
            calls = sorted({call for _, call in free if call is not None})
            store.payloads.erase(transaction, calls)
            store.budgets.forget(transaction, calls, int(time.time()))
            store.lookups.forget(transaction, calls)
            store.trail.append(transaction, _event(before, reason, actor, ranges, len(free), len(again) - len(free)))
        return Pruned(len(free), len(again) - len(free), reached, head.size, ranges)

    return await store.commits.commit(change)


def _free(store: Store, connection: Any, found: Sequence[Past]) -> list[Past]:
    """Return those of them that no hold keeps."""
    if not found:
        return []
    held = {seq for one in store.holds.held(connection, found[0][0], found[-1][0] + 1) for seq in one}
    return [one for one in found if one[0] not in held]


def _event(
    before: str, reason: str, actor: Record, ranges: Sequence[Sequence[int]], count: int, held: int
) -> dict[str, Any]:
    return {
        "id": new_id(),
        "time": timestamp(),
        "kind": "trail_pruned",
        "actor": dict(actor),
        "reason": reason,
        "before": before,
        "ranges": [list(one) for one in ranges],
        "count": count,
        "held": held,
    }
