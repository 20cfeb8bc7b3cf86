"""Erasing what policies have recorded encrypted: for good, on record, and never what a legal hold keeps.

The trail stays as it is: a record holds a commitment to the sealed value, not the value.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from broker.audit import Record, new_id, timestamp
from broker.store import Connection, Store, Transaction

_MOST_HOLDS = 100  # that are named in one record, which has its own limit


@dataclass(slots=True)
class Erased:
    """What an erasure came to: of how many calls which number of values, and how many calls each hold has kept."""

    calls: int = 0
    values: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    overwritten: bool = True
    """Whether the sealed bytes are gone from the store's files, too; its backups are somebody else's."""

    def add(self, more: "Erased") -> None:
        """Count another part of it."""
        self.calls += more.calls
        self.values += more.values
        self.kept.update(more.kept)


Take = Callable[[Sequence[str]], Awaitable[Erased]]


async def erasable(store: Store, wanted: Mapping[str, str]) -> Erased:
    """Tell what an erasure would come to now."""

    async def look(calls: Sequence[str]) -> Erased:
        return await asyncio.to_thread(store.read, partial(_would_erase, store, calls))

    return await _each(store, wanted, look)


async def erase(store: Store, wanted: Mapping[str, str], reason: str, actor: Record) -> Erased:
    """Erase what is kept of the calls that match, but for what is held; each commit carries its own record.

    Durable once it returns. If it is interrupted, what was erased by then is on record.
    """

    async def take(calls: Sequence[str]) -> Erased:
        return await store.commits.commit(partial(_erase, store, calls, wanted, reason, actor))

    erased = await _each(store, wanted, take)
    if not erased.values and not erased.kept:
        await take(())  # that somebody asked is on record all the same
    erased.overwritten = await asyncio.to_thread(store.fold_log)
    return erased


async def _each(store: Store, wanted: Mapping[str, str], take: Take) -> Erased:
    """Hand over the calls that match, a few at a time, and add up what comes of it."""
    found = Erased()
    after: str | None = ""
    while after is not None:
        page = partial(store.payloads.matching, wanted=wanted, after=after)
        calls, after = await asyncio.to_thread(store.read, page)
        if calls:
            found.add(await take(calls))
    return found


def _would_erase(store: Store, calls: Sequence[str], connection: Connection) -> Erased:
    held = store.holds.of_calls(connection, calls)
    free = [call for call in calls if call not in held]
    return Erased(len(free), store.payloads.count(connection, free), _kept(held))


def _erase(
    store: Store,
    calls: Sequence[str],
    wanted: Mapping[str, str],
    reason: str,
    actor: Record,
    transaction: Transaction,
) -> Erased:
    """Erase and record in one transaction: a hold that comes later comes too late, one before it is heeded."""
    held = store.holds.of_calls(transaction, calls)
    free = [call for call in calls if call not in held]
    erased = Erased(len(free), store.payloads.erase(transaction, free), _kept(held))
    kept = [{"hold": name, "calls": number} for name, number in erased.kept.most_common(_MOST_HOLDS)]
    record = {
        "id": new_id(),
        "time": timestamp(),
        "kind": "payloads_erased",
        "actor": dict(actor),
        "filter": dict(wanted),
        "reason": reason,
        "count": erased.values,
        "calls": free,
        "kept": kept,
    }
    store.trail.append(transaction, record)
    return erased


def _kept(held: Mapping[str, Sequence[str]]) -> Counter[str]:
    return Counter(name for names in held.values() for name in names)
