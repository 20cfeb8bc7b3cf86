"""Legal holds: what may be neither erased nor pruned, and until when."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from broker.store.conditions import Queries, calls_held, events_held
from broker.store.transaction import Transaction

_PAGE = 500
_COLUMNS = "id, name, filter, reason, created, released"
_RECORDS = "SELECT seq, call_id FROM records WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?"


@dataclass(frozen=True, slots=True)
class Hold:
    """What a hold keeps: calls and events of which all of `wanted` is true. It is active until it is released."""

    id: str
    name: str
    wanted: Mapping[str, str]
    reason: str
    created: str
    released: str | None = None


class HoldTable:
    """Reads and writes holds. A name is used once, so that what it meant can be looked up for ever."""

    def add(self, transaction: Transaction, hold: Hold) -> bool:
        """Insert a hold; False if there is or was one of that name."""
        statement = f"INSERT INTO holds ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
        values = (hold.id, hold.name, json.dumps(dict(hold.wanted)), hold.reason, hold.created, hold.released)
        return transaction.execute(statement, values).rowcount == 1

    def release(self, transaction: Transaction, name: str, released: str) -> bool:
        """End a hold; False if none of that name is active."""
        statement = "UPDATE holds SET released = ? WHERE name = ? AND released IS NULL"
        return transaction.execute(statement, (released, name)).rowcount == 1

    def all(self, connection: Queries) -> list[Hold]:
        """Return every hold, also those that were released, the newest first."""
        rows = connection.execute(f"SELECT {_COLUMNS} FROM holds ORDER BY created DESC, id DESC")  # noqa: S608 - constants
        return [_hold(row) for row in rows]

    def active(self, connection: Queries) -> list[Hold]:
        """Return the holds that are in force, the newest first."""
        return [hold for hold in self.all(connection) if hold.released is None]

    def of_calls(self, connection: Queries, calls: Sequence[str]) -> dict[str, list[str]]:
        """Return, for each of some calls that is held, the names of the holds that it is under."""
        found: dict[str, list[str]] = {}
        for call, name in calls_held(connection, calls):
            found.setdefault(call, []).append(name)
        return found

    def held(self, connection: Queries, start: int, stop: int) -> Iterator[range]:
        """Yield, in order, the ranges of records start to stop - 1 that are under an active hold.

        A call is held as a whole, wherever its records stand; an event that is no call by its time alone. Reads a page
        at a time, in constant memory.
        """
        run: range | None = None
        for seq in self._held_seqs(connection, start, stop):
            if run is not None and seq == run.stop:
                run = range(run.start, seq + 1)
                continue
            if run is not None:
                yield run
            run = range(seq, seq + 1)
        if run is not None:
            yield run

    def _held_seqs(self, connection: Queries, start: int, stop: int) -> Iterator[int]:
        if not self.active(connection):
            return
        while page := connection.execute(_RECORDS, (start, stop, _PAGE)).fetchall():
            yield from _held_of(connection, page)
            start = page[-1][0] + 1


def _held_of(connection: Queries, page: Sequence[tuple[int, str | None]]) -> list[int]:
    """Return which records of a page are held."""
    calls = {call for call, _ in calls_held(connection, sorted({call for _, call in page if call is not None}))}
    events = events_held(connection, [seq for seq, call in page if call is None])
    return [seq for seq, call in page if (call in calls if call is not None else seq in events)]


def _hold(row: tuple[str, str, str, str, str, str | None]) -> Hold:
    id_, name, wanted, reason, created, released = row
    return Hold(id_, name, json.loads(wanted), reason, created, released)
