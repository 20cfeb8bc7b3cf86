"""Budgets: what each window has spent and held, every hold, raises, and alerts that are still to be announced.

A window is a row, made when it is first needed: what was spent in it before it was a row counts. Amounts are integers.
"""

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from broker.store.conditions import Queries
from broker.store.transaction import Transaction

HoldState = Literal["reserved", "dispatched", "settled", "released"]
_LIVE = "state IN ('reserved', 'dispatched')"
_BOUNDED = "state = 'settled' AND source = 'upper_bound'"
_HOLD = (
    "id, call_id, attempt, state, workload, agent, team, owner, route, provider, model, amount, tokens, admitted, "
    "windows"
)
_PARTS = "cost, source, settled, input_tokens, output_tokens, cache_read, cache_write, reasoning, overrun"
_ADD_HOLD = f"INSERT INTO budget_holds ({_HOLD}) VALUES ({', '.join('?' * len(_HOLD.split(', ')))})"  # noqa: S608 - constants
_SETTLE_HOLD = (
    f"UPDATE budget_holds SET state = ?, {', '.join(f'{name} = ?' for name in _PARTS.split(', '))} "  # noqa: S608 - constants
    f"WHERE id = ? AND {_LIVE}"
)
_values_of = operator.attrgetter(*_HOLD.split(", ")[:-1])
_parts_of = operator.attrgetter(*_PARTS.split(", "))
_RAISE = "id, whose, name, period, amount, until, reason, actor, created"
_COUNTS = "SELECT spent, held FROM budget_windows WHERE key = ? AND start = ?"
_LONGEST_WINDOW = 62 * 86_400  # seconds: a month, and another where clocks were set back
_KEPT_MINUTES = 3600  # seconds, of windows that are minutes
_SHORTEST_KEPT = 3600  # windows of this length and more are kept: they are history

# What counts in a window that is made late, by unit: what is settled, and all of what may yet be billed or is not known
_COUNTED = {
    "nano_usd": f"iif({_LIVE}, amount, coalesce(cost, 0))",
    "tokens": f"iif({_LIVE}, tokens, coalesce(input_tokens + output_tokens, tokens))",
    "requests": "1",
}
_GROUPS = {
    **{name: name for name in ("agent", "team", "owner", "route", "provider", "model")},
    "day": "strftime('%Y-%m-%d', admitted, 'unixepoch')",
}
SPENT_BY = tuple(_GROUPS)
"""What calls may have in common."""
_COLUMNS = ("cost", "1", "input_tokens", "cache_read", "output_tokens", "reasoning")
_FLAGS = ("source IN ('upper_bound', 'found_at_start')", "cost IS NULL")
_SUMS = [f"ifnull(sum({column}), 0)" for column in (*_COLUMNS, *_FLAGS)]
_WHOSE = {"agent": "workload = ?", "team": "team = ?", "owner": "owner = ?", "organisation": "? = ''"}


@dataclass(frozen=True, slots=True)
class WindowKey:
    """One window of one cap: what is counted there, of whom, from `start` to `end`."""

    key: str
    unit: str
    whose: str
    name: str
    period: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class HoldRow:
    """A hold, as it is made. `windows` are (key, start, amount held there)."""

    id: str
    call_id: str
    attempt: int
    state: HoldState
    workload: str
    agent: str
    team: str
    owner: str
    route: str
    provider: str
    model: str
    amount: int
    tokens: int
    admitted: int
    windows: Sequence[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class SettledPart:
    """What became of a hold: None for what is not known."""

    cost: int | None
    source: str
    settled: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    overrun: int = 0


@dataclass(frozen=True, slots=True)
class RaiseRow:
    """So much more in each window of a period, until a moment, because somebody approved it."""

    id: str
    whose: str
    name: str
    period: str
    amount: int
    until: int
    reason: str
    actor: Mapping[str, Any]
    created: int


@dataclass(frozen=True, slots=True)
class SpentRow:
    """What was spent by all calls that have something in common."""

    of: Mapping[str, str]
    cost: int
    calls: int
    input_tokens: int
    cache_read: int
    output_tokens: int
    reasoning: int
    bounded: int
    """How many of them are counted at the most that they may have cost."""
    unpriced: int
    """How many of them have no price."""


class BudgetTable:
    """Reads and writes windows, holds and raises."""

    # Windows

    def opened(self, transaction: Transaction, one: WindowKey) -> tuple[int, int]:
        """Return what a window has spent and held; make its row if there is none."""
        found = transaction.apart.execute(_COUNTS, (one.key, one.start)).fetchone()
        if found is not None:
            return int(found[0]), int(found[1])
        spent = self._spent_before(transaction.apart, one)
        made = "INSERT INTO budget_windows (key, start, ends, spent, held, alerted) VALUES (?, ?, ?, ?, 0, 0)"
        transaction.apart.execute(made, (one.key, one.start, one.end, spent))
        if one.end - one.start < _SHORTEST_KEPT:
            late = "DELETE FROM budget_windows WHERE key = ? AND ends < ?"
            transaction.apart.execute(late, (one.key, one.start - _KEPT_MINUTES))
        return spent, 0

    def take(self, transaction: Transaction, one: WindowKey, amount: int, limit: int) -> bool:
        """Hold so much in a window that has it free; False, and nothing is held, if it has not."""
        statement = "UPDATE budget_windows SET held = held + ? WHERE key = ? AND start = ? AND spent + held + ? <= ?"
        return transaction.apart.execute(statement, (amount, one.key, one.start, amount, limit)).rowcount == 1

    def give(self, transaction: Transaction, key: str, start: int, held: int, spent: int) -> int | None:
        """Put what was spent in the place of what was held; return what the window has spent, None if it is gone."""
        statement = (
            "UPDATE budget_windows SET held = held - ?, spent = spent + ? WHERE key = ? AND start = ? RETURNING spent"
        )
        row = transaction.apart.execute(statement, (held, spent, key, start)).fetchone()
        return None if row is None else int(row[0])

    def alert(self, transaction: Transaction, key: str, start: int, percent: int) -> bool:
        """Note that a window has reached a percentage; False if that was noted before."""
        statement = "UPDATE budget_windows SET alerted = ? WHERE key = ? AND start = ? AND alerted < ?"
        return transaction.apart.execute(statement, (percent, key, start, percent)).rowcount == 1

    def counted(self, connection: Queries, one: WindowKey) -> tuple[int, int]:
        """Return what a window has spent and held, whether it is a row or not."""
        found = connection.execute(_COUNTS, (one.key, one.start)).fetchone()
        return (self._spent_before(connection, one), 0) if found is None else (int(found[0]), int(found[1]))

    def _spent_before(self, connection: Queries, one: WindowKey) -> int:
        """Return what counts in a window that is no row yet: a budget may be new, or in another time zone."""
        counted = f"SELECT coalesce(sum({_COUNTED[one.unit]}), 0) FROM budget_holds "  # noqa: S608 - constants
        where = f"WHERE admitted >= ? AND admitted < ? AND state <> 'released' AND {_WHOSE[one.whose]}"
        (spent,) = connection.execute(counted + where, (one.start, one.end, one.name)).fetchone()
        return int(spent)

    def past(self, connection: Queries, key: str, count: int) -> list[tuple[int, int, int]]:
        """Return the newest windows under a key that are rows, the oldest first: (start, end, spent)."""
        query = "SELECT start, ends, spent FROM budget_windows WHERE key = ? ORDER BY start DESC LIMIT ?"
        return [(int(start), int(end), int(spent)) for start, end, spent in connection.execute(query, (key, count))][
            ::-1
        ]

    # Holds

    def hold(self, transaction: Transaction, row: HoldRow) -> None:
        """Insert a hold."""
        transaction.apart.execute(_ADD_HOLD, (*_values_of(row), msgspec.json.encode(row.windows).decode()))

    def dispatch(self, transaction: Transaction, hold_id: str) -> bool:
        """Note that a hold's request is sent from now on; False if it is not reserved any more."""
        statement = "UPDATE budget_holds SET state = 'dispatched' WHERE id = ? AND state = 'reserved'"
        return transaction.apart.execute(statement, (hold_id,)).rowcount == 1

    def settle(self, transaction: Transaction, hold_id: str, state: HoldState, part: SettledPart) -> bool:
        """End a hold, once; False if it has ended before, or never began."""
        if part.overrun:
            transaction.forget("overruns")
        return transaction.apart.execute(_SETTLE_HOLD, (state, *_parts_of(part), hold_id)).rowcount == 1

    def bounded(self, transaction: Transaction, hold_id: str) -> tuple[HoldRow, int] | None:
        """Return a hold that is spent at the most that it may have cost, and how much that is; None if it is not."""
        query = f"SELECT cost, {_HOLD} FROM budget_holds WHERE id = ? AND {_BOUNDED}"  # noqa: S608 - constants
        found = transaction.apart.execute(query, (hold_id,)).fetchone()
        return None if found is None else (_hold(found[1:]), int(found[0]))

    def correct(self, transaction: Transaction, hold_id: str, cost: int, overrun: int) -> bool:
        """Put what a hold has really cost in the place of its bound: once; False if that was done before."""
        change = f"UPDATE budget_holds SET cost = ?, source = 'reconciled', overrun = ? WHERE id = ? AND {_BOUNDED}"  # noqa: S608 - constants
        if overrun:
            transaction.forget("overruns")
        return transaction.apart.execute(change, (cost, overrun, hold_id)).rowcount == 1

    def costs_of(self, connection: Queries, call_id: str) -> dict[str, tuple[int | None, str]]:
        """Return what each settled hold of a call has cost, as far as that is known now, and how it is known."""
        query = "SELECT id, cost, source FROM budget_holds WHERE call_id = ? AND source IS NOT NULL"
        return {hold_id: (cost, source) for hold_id, cost, source in connection.execute(query, (call_id,))}

    def live(self, connection: Queries) -> list[HoldRow]:
        """Return the holds that have not ended."""
        return [_hold(row) for row in connection.execute(f"SELECT {_HOLD} FROM budget_holds WHERE {_LIVE}")]  # noqa: S608 - constants

    def forget(self, transaction: Transaction, call_ids: Sequence[str], now: int) -> None:
        """Delete the holds of calls that the trail forgets, but for those that a window may still have to count."""
        statement = (
            "DELETE FROM budget_holds WHERE call_id IN (SELECT value FROM json_each(?)) AND admitted < ? "  # noqa: S608 - constants
            f"AND NOT {_LIVE} AND NOT (coalesce(overrun, 0) > 0 AND acknowledged IS NULL)"
        )
        transaction.apart.execute(statement, (json.dumps(list(call_ids)), now - _LONGEST_WINDOW))

    # Overruns

    def has_overrun(self, transaction: Transaction, provider: str, model: str) -> bool:
        """Tell whether a target has an overrun that nobody has acknowledged."""
        query = "SELECT DISTINCT provider, model FROM budget_holds WHERE overrun > 0 AND acknowledged IS NULL"
        return (provider, model) in transaction.once("overruns", None, lambda reading: {*reading.execute(query)})

    def overruns(self, connection: Queries) -> list[dict[str, Any]]:
        """Return the overruns that nobody has acknowledged, the oldest first."""
        names = ("id", "call_id", "agent", "route", "provider", "model", "amount", "cost", "overrun", "settled")
        query = (
            f"SELECT {', '.join(names)} FROM budget_holds "  # noqa: S608 - constants
            "WHERE overrun > 0 AND acknowledged IS NULL ORDER BY settled"
        )
        return [dict(zip(names, row, strict=True)) for row in connection.execute(query)]

    def acknowledge(self, transaction: Transaction, hold_id: str, now: int) -> bool:
        """Note that somebody has looked at an overrun; False if there is none to look at."""
        transaction.forget("overruns")
        statement = "UPDATE budget_holds SET acknowledged = ? WHERE id = ? AND overrun > 0 AND acknowledged IS NULL"
        return transaction.apart.execute(statement, (now, hold_id)).rowcount == 1

    # What was spent

    def spent(self, connection: Queries, by: Sequence[str], asked: Mapping[str, Any], count: int) -> list[SpentRow]:
        """Return what was spent, by any of `SPENT_BY`, the dearest first. `asked`: since, until, and what is equal."""
        groups = ", ".join(_GROUPS[one] for one in by) or "''"
        wanted = [f"{_GROUPS[name]} = ?" for name in asked if name in _GROUPS]
        where = " AND ".join(["state = 'settled'", "admitted >= ?", "admitted < ?", *wanted])
        values = (asked["since"], asked["until"], *(value for name, value in asked.items() if name in _GROUPS))
        query = (
            f"SELECT {', '.join(_SUMS)}, {groups} FROM budget_holds "  # noqa: S608 - constants
            f"WHERE {where} GROUP BY {groups} ORDER BY 1 DESC LIMIT ?"
        )
        width = len(_SUMS)
        return [
            SpentRow(dict(zip(by, row[width:], strict=False)), *row[:width])
            for row in connection.execute(query, (*values, count))
        ]

    # Raises

    def add_raise(self, transaction: Transaction, row: RaiseRow) -> None:
        """Insert a raise."""
        values = (
            row.id,
            row.whose,
            row.name,
            row.period,
            row.amount,
            row.until,
            row.reason,
            json.dumps(dict(row.actor)),
            row.created,
        )
        transaction.forget("raises")
        transaction.apart.execute(f"INSERT INTO budget_raises ({_RAISE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608 - constants

    def withdraw(self, transaction: Transaction, raise_id: str, now: int) -> RaiseRow | None:
        """End a raise before its time; None if there is none in force."""
        query = f"SELECT {_RAISE} FROM budget_raises WHERE id = ? AND until > ?"  # noqa: S608 - constants
        found = transaction.apart.execute(query, (raise_id, now)).fetchone()
        if found is None:
            return None
        transaction.forget("raises")
        transaction.apart.execute("UPDATE budget_raises SET until = ? WHERE id = ?", (now, raise_id))
        return _raise(found)

    def raised(self, connection: Queries, now: int) -> dict[tuple[str, str, str], int]:
        """Return by how much limits are raised now, by whose, name and period."""
        query = (
            "SELECT whose, name, period, sum(amount) FROM budget_raises "
            "WHERE until > ? AND created <= ? GROUP BY whose, name, period"
        )
        found = connection.execute(query, (now, now)).fetchall()
        return {(whose, name, period): int(amount) for whose, name, period, amount in found}

    def raised_for(self, transaction: Transaction, now: int) -> dict[tuple[str, str, str], int]:
        """Return the same for the changes of a commit, read once a second."""
        return transaction.once("raises", now, lambda reading: self.raised(reading, now))

    def raises(self, connection: Queries, now: int) -> list[RaiseRow]:
        """Return the raises in force, the oldest first."""
        query = f"SELECT {_RAISE} FROM budget_raises WHERE until > ? ORDER BY created, id"  # noqa: S608 - constants
        return [_raise(row) for row in connection.execute(query, (now,))]

    # What is to be announced

    def announce(self, transaction: Transaction, news_id: str, webhook: str, said: Mapping[str, Any]) -> None:
        """Keep what is to be announced until it is."""
        statement = "INSERT INTO budget_news (id, webhook, said) VALUES (?, ?, ?)"
        transaction.apart.execute(statement, (news_id, webhook, json.dumps(dict(said))))

    def news(self, connection: Queries, count: int) -> list[tuple[str, str, dict[str, Any]]]:
        """Return what is still to be announced, the oldest first: (id, webhook, what it says)."""
        query = "SELECT id, webhook, said FROM budget_news ORDER BY id LIMIT ?"
        return [(news_id, webhook, json.loads(said)) for news_id, webhook, said in connection.execute(query, (count,))]

    def announced(self, transaction: Transaction, news_id: str) -> None:
        """Forget what has been announced."""
        transaction.apart.execute("DELETE FROM budget_news WHERE id = ?", (news_id,))


def _hold(values: tuple[Any, ...]) -> HoldRow:
    given = dict(zip(_HOLD.split(", "), values, strict=True))
    given["windows"] = [(key, start, held) for key, start, held in json.loads(given["windows"])]
    return HoldRow(**given)


def _raise(values: tuple[Any, ...]) -> RaiseRow:
    given = dict(zip(_RAISE.split(", "), values, strict=True))
    given["actor"] = json.loads(given["actor"])
    return RaiseRow(**given)
