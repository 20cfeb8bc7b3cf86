"""What is still to be asked of providers: what calls have really cost that are counted at the most they may have."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.store.conditions import Queries
from broker.store.transaction import Transaction

_COLUMNS = "hold, call_id, connector, account, generation, due, tries, said"


@dataclass(frozen=True, slots=True)
class LookupRow:
    """One hold whose cost its provider knows: by which id, with whose account, and when it is asked next."""

    hold: str
    call_id: str
    connector: str
    account: str
    """The id of the grant that the call was made with."""
    generation: str
    due: int
    tries: int = 0
    said: int | None = None
    """What the provider said when it was asked last, in nano-dollars."""


class LookupTable:
    """Reads and writes lookups. They stay when they are done, so that one id is never that of two calls."""

    def add(self, transaction: Transaction, row: LookupRow) -> bool:
        """Note that something is to be asked; False if that id was that of another call of the same service."""
        values = tuple(getattr(row, name) for name in _COLUMNS.split(", "))
        statement = f"INSERT INTO budget_lookups ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
        return transaction.apart.execute(statement, values).rowcount == 1

    def due(self, connection: Queries, now: int, count: int) -> list[LookupRow]:
        """Return what is to be asked now, what has waited longest first."""
        query = f"SELECT {_COLUMNS} FROM budget_lookups WHERE due <= ? ORDER BY due, hold LIMIT ?"  # noqa: S608 - constants
        return [LookupRow(*row) for row in connection.execute(query, (now, count))]

    def later(self, transaction: Transaction, hold: str, due: int, tries: int, said: int | None) -> None:
        """Ask again at a time, and keep what was said now."""
        statement = "UPDATE budget_lookups SET due = ?, tries = ?, said = ? WHERE hold = ? AND due IS NOT NULL"
        transaction.apart.execute(statement, (due, tries, said, hold))

    def end(self, transaction: Transaction, hold: str) -> bool:
        """Ask no more; False if that was so before."""
        statement = "UPDATE budget_lookups SET due = NULL WHERE hold = ? AND due IS NOT NULL"
        return transaction.apart.execute(statement, (hold,)).rowcount == 1

    def forget(self, transaction: Transaction, call_ids: Sequence[str]) -> None:
        """Delete the lookups of calls whose holds are gone."""
        for call_id in call_ids:
            statement = "DELETE FROM budget_lookups WHERE call_id = ? AND hold NOT IN (SELECT id FROM budget_holds)"
            transaction.apart.execute(statement, (call_id,))
