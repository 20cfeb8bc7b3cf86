"""Budgets in people's hands: how they stand, raises for a time, overruns that somebody has looked at, and alerts.

An alert is announced as

    {"format":"access.envisionai.dev/budget/v1","id":"0197…","kind":"budget_alerted","log":"…","percent":80,
    "budget":{"of":"team","name":"finance","period":"day","resets_at":"2026-11-29T00:00:00Z"},"time":"…"}

and an overrun with the `target` (route, provider, model) and the `hold` to acknowledge; neither says an amount.
"""

import asyncio
import datetime
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from broker.audit import Record, new_id, timestamp
from broker.budget import Money
from broker.budget.place import exact, place_of
from broker.budget.windows import Window
from broker.control.deciding import is_owner
from broker.documents import Documents
from broker.documents.words import nearest
from broker.errors import NotFound, OperatorForbidden, OperatorRequestInvalid, Refusal
from broker.policy import Cap
from broker.policy.spending import Period, Whose
from broker.store import Connection, RaiseRow, SpentRow, Store, Transaction

logger = logging.getLogger(__name__)

FORMAT = "access.envisionai.dev/budget/v1"
Deliver = Callable[[str, str, Callable[[], bytes]], Awaitable[str | None]]
_LONGEST_RAISE = 31 * 24 * 3600  # seconds
_LOOK_EVERY = 2.0  # seconds
_AT_ONCE = 50
_MOST_ROWS = 10_000
_TOLD = ("kind", "percent", "target", "hold", "agent")
_TOLD_OF_BUDGETS = ("of", "name", "period", "resets_at")


@dataclass(frozen=True, slots=True)
class Standing:
    """How one budget stands: what of its window is spent and held, and what the windows before it have spent."""

    cap: Cap
    window: Window
    limit: Money
    spent: Money
    held: Money
    past: tuple[tuple[int, int, Money], ...] = ()
    """(start, end, spent) of the windows so far, the oldest first."""

    @property
    def left(self) -> Money:
        """What is neither spent nor held; less than nothing after an overrun, or where a budget was lowered."""
        return self.limit - self.spent - self.held


class Budgets:
    """What operators see of budgets, and what they do with them."""

    def __init__(
        self, documents: Documents, store: Store, deliver: Deliver, clock: Callable[[], float] = time.time
    ) -> None:
        self._documents = documents
        self._store = store
        self._deliver = deliver
        self._clock = clock

    # How they stand

    async def standings(self, past: int = 0) -> list[Standing]:
        """Return how every budget stands, each with so many windows."""
        caps, now = self._documents.current.budgets, self._clock()
        return await asyncio.to_thread(
            self._store.read, lambda connection: self._standings(connection, caps, now, past)
        )

    def read(self, connection: Connection, caps: Sequence[Cap]) -> list[Standing]:
        """Return how some budgets stand; call it in a worker thread."""
        return self._standings(connection, caps, self._clock(), 0)

    async def of_agent(self, workload: str) -> list[Standing]:
        """Return how everything stands that an agent's model calls are capped by."""
        caps, now = self._documents.current.allowance_of(workload).caps, self._clock()
        return await asyncio.to_thread(self._store.read, lambda connection: self._standings(connection, caps, now, 0))

    async def raises(self) -> list[RaiseRow]:
        """Return the raises in force, the oldest first."""
        now = int(self._clock())
        return await asyncio.to_thread(self._store.read, lambda reading: self._store.budgets.raises(reading, now))

    async def overruns(self) -> list[dict[str, Any]]:
        """Return the overruns that nobody has acknowledged, the oldest first."""
        return await asyncio.to_thread(self._store.read, self._store.budgets.overruns)

    async def spent(self, by: tuple[str, ...], asked: Mapping[str, Any]) -> list[SpentRow]:
        """Return what models have cost, grouped, the dearest first."""
        table = self._store.budgets
        return await asyncio.to_thread(self._store.read, lambda reading: table.spent(reading, by, asked, _MOST_ROWS))

    # What people decide

    async def raise_for_a_time(
        self,
        whose: Whose,
        name: str,
        period: Period,
        amount: Money,
        until: datetime.datetime,
        reason: str,
        actor: Record,
    ) -> RaiseRow:
        """Add an amount to each window of a budget until a moment; on record with it. It ends by itself.

        Raises `NotFound` if there is no such budget, `OperatorForbidden` for whoever answers for who would profit.
        """
        now, ends = int(self._clock()), int(until.timestamp())
        if not now < ends <= now + _LONGEST_RAISE:
            raise OperatorRequestInvalid("A raise ends within 31 days, and not before now.")
        self._check(whose, name, period, actor)
        row = RaiseRow(new_id(), whose, name, period, amount, ends, reason, dict(actor), now)

        def change(transaction: Transaction) -> None:
            self._store.budgets.add_raise(transaction, row)
            self._store.trail.append(transaction, _raised("budget_raised", row, reason, actor))

        await self._store.commits.commit(change)
        return row

    async def withdraw(self, raise_id: str, reason: str, actor: Record) -> RaiseRow:
        """End a raise before its time, on record; raise `NotFound` if there is none in force."""
        now = int(self._clock())

        def change(transaction: Transaction) -> RaiseRow:
            row = self._store.budgets.withdraw(transaction, raise_id, now)
            if row is None:
                raise NotFound(f"No raise {raise_id!r} is in force; 'aam budget raises' lists those that are.")
            self._store.trail.append(transaction, _raised("budget_withdrawn", row, reason, actor))
            return row

        return await self._store.commits.commit(change)

    async def acknowledge(self, hold_id: str, reason: str, actor: Record) -> None:
        """Note that somebody has looked at an overrun, on record: from now on its target is used again."""
        record = {**_event("budget_acknowledged", reason, actor), "hold": hold_id}

        def change(transaction: Transaction) -> None:
            if not self._store.budgets.acknowledge(transaction, hold_id, int(self._clock())):
                raise NotFound(f"There is no overrun {hold_id!r} to look at; 'aam budget overruns' lists them.")
            self._store.trail.append(transaction, record)

        await self._store.commits.commit(change)

    # What is announced

    async def keep_announcing(self) -> None:
        """Announce alerts and overruns where their budgets say, for ever; what a stop left over is sent later."""
        while True:
            await self.announce()
            await asyncio.sleep(_LOOK_EVERY)

    async def announce(self) -> None:
        """Announce what waits; one that does not arrive holds up no other."""
        table = self._store.budgets
        waiting = await asyncio.to_thread(self._store.read, lambda reading: table.news(reading, _AT_ONCE))
        async with anyio.create_task_group() as tasks:
            for news in waiting:
                tasks.start_soon(self._announce, *news)

    async def _announce(self, news_id: str, webhook: str, said: Mapping[str, Any]) -> None:
        code = await self._deliver(webhook, FORMAT, lambda: _body(said, self._store.trail.log))
        if code is not None:
            logger.warning("an alert of a budget could not be announced", extra={"code": code})
        await self._announced(news_id, said, code)

    async def _announced(self, news_id: str, said: Mapping[str, Any], code: str | None) -> None:
        record = {
            "id": new_id(),
            "time": timestamp(),
            "kind": "budget_announced",
            "of": said["id"],
            "outcome": {"code": code},
        }

        def change(transaction: Transaction) -> None:
            self._store.budgets.announced(transaction, news_id)
            self._store.trail.append(transaction, record)

        try:
            await self._store.commits.commit(change)
        except Refusal as refusal:
            logger.error("an announcement is not on record", extra={"code": refusal.code})  # noqa: TRY400 - no traceback

    def _standings(self, connection: Connection, caps: Sequence[Cap], now: float, past: int) -> list[Standing]:
        table, found = self._store.budgets, []
        raised = table.raised(connection, int(now))
        for cap in caps:
            more = raised.get((cap.whose, cap.name, cap.period), 0) if cap.unit == "nano_usd" else 0
            place = place_of(cap, now, more)
            spent, held = table.counted(connection, place.key)
            before = tuple(table.past(connection, cap.key, past)) if past else ()
            found.append(Standing(cap, place.window, place.limit, spent, held, before))
        return found

    def _check(self, whose: Whose, name: str, period: Period, actor: Record) -> None:
        """Return if there is such a budget, and the actor may raise it."""
        snapshot = self._documents.current
        mine = [cap for cap in snapshot.budgets if (cap.whose, cap.name) == (whose, name)]
        if not mine:
            known = [cap.name for cap in snapshot.budgets if cap.whose == whose]
            raise NotFound(f"There is no budget of {whose} {name!r}{nearest(name, known)}.")
        if period not in {cap.period for cap in mine}:
            raise NotFound(
                f"That budget has no limit for a {period}, but for a {' and a '.join(c.period for c in mine)}."
            )
        agent = snapshot.registry.agents.get(name) if whose == "agent" else None
        owner = name if whose == "owner" else agent.owner if agent is not None else None
        if owner is not None and is_owner(actor["user"], owner):
            raise OperatorForbidden(f"{actor['user']} answers for what would profit; somebody else must raise it.")


def _event(kind: str, reason: str, actor: Record) -> dict[str, Any]:
    return {"id": new_id(), "time": timestamp(), "kind": kind, "actor": dict(actor), "reason": reason}


def _raised(kind: str, row: RaiseRow, reason: str, actor: Record) -> dict[str, Any]:
    return {
        **_event(kind, reason, actor),
        "budget": {"of": row.whose, "name": row.name, "period": row.period},
        "raise": {"id": row.id, "by": exact(row.amount), "until": timestamp(row.until)},
    }


def _body(said: Mapping[str, Any], log: str) -> bytes:
    told = {name: said[name] for name in _TOLD if name in said}
    if "budget" in said:
        told["budget"] = {name: said["budget"][name] for name in _TOLD_OF_BUDGETS}
    told |= {"format": FORMAT, "id": said["id"], "log": log, "time": said["time"]}
    return json.dumps(told, separators=(",", ":"), sort_keys=True).encode()
