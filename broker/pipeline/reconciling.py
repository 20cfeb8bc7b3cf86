"""Asks OpenRouter afterwards what calls have cost that nobody here could know, beside all calls and in none's way.

A call that was cut, or whose answer said no usage, counts at the most that it may have cost. Where its answer had a
generation's id, `/generation` knows what was billed: not at once, so that it is asked a few times, and believed when
it has said the same twice.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from broker.audit import Record
from broker.budget import Money, UsageUnusable
from broker.budget.reconciling import Reconciled, cost_billed, reconcile
from broker.documents import Connection, Documents
from broker.egress import Session
from broker.errors import Refusal
from broker.store import LookupRow, Store, Transaction
from broker.vault import Service, Vault

logger = logging.getLogger(__name__)

_LOOK_EVERY = 10.0  # seconds
_AT_ONCE = 20
_PATIENCE = 30.0  # seconds for one answer
_WAITS = (60, 120, 300, 900, 1800, 3600, 7200)  # seconds after each try: nearly four hours in all
_OK = 200

ServiceOf = Callable[[Connection], Service]


class Reconciler:
    """Settles what was counted at its bound. What it has still to ask is in the store, and outlives the process."""

    def __init__(
        self,
        documents: Documents,
        store: Store,
        vault: Vault,
        service_of: ServiceOf,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._documents = documents
        self._store = store
        self._vault = vault
        self._service_of = service_of
        self._clock = clock
        self.given_back: Counter[tuple[str, str, str]] = Counter()
        """In nano-dollars, by route, provider and model: what was not billed of what had counted since the start."""

    async def keep_asking(self) -> None:
        """Ask what is due, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_EVERY)

    async def look(self) -> int:
        """Ask what is due now, one after another; return how many costs have become known."""
        now = int(self._clock())
        due = await asyncio.to_thread(self._store.read, lambda reading: self._store.lookups.due(reading, now, _AT_ONCE))
        known = 0
        for row in due:
            try:
                known += await self._looked_up(row)
            except Refusal as refusal:  # of the store: it is asked again
                logger.warning("a call's cost is not on record yet", extra={"code": refusal.code})
        return known

    async def _looked_up(self, row: LookupRow) -> bool:
        said, credential = await self._ask(row)
        if said is not None and said == row.said:
            return await self._believed(row, said, credential)
        if row.tries >= len(_WAITS):
            logger.warning("what a call has cost stays unknown", extra={"call_id": row.call_id})
            await self._store.commits.commit(lambda change: self._store.lookups.end(change, row.hold))
            return False
        due = int(self._clock()) + _WAITS[row.tries]
        await self._store.commits.commit(
            lambda change: self._store.lookups.later(change, row.hold, due, row.tries + 1, said)
        )
        return False

    async def _believed(self, row: LookupRow, cost: Money, credential: Record | None) -> bool:
        found = await self._store.commits.commit(lambda change: self._reconcile(change, row, cost, credential))
        if found is not None:
            self.given_back[found.route, found.provider, found.model] += max(found.less, 0)
        return found is not None

    def _reconcile(
        self, transaction: Transaction, row: LookupRow, cost: Money, credential: Record | None
    ) -> Reconciled | None:
        found = self._store.budgets.bounded(transaction, row.hold)
        caps = () if found is None else self._documents.current.allowance_of(found[0].workload).caps
        return reconcile(self._store, transaction, row, cost, caps, credential)

    async def _ask(self, row: LookupRow) -> tuple[Money | None, Record | None]:
        """Return what a generation was billed, and which credential was used; None where nobody says so now."""
        connection = self._documents.current.connections.get(row.connector)
        if connection is None or connection.connector.models is None or not connection.connector.models.routes:
            return None, None
        try:
            service = self._service_of(connection)
            with self._vault.open_for_operator(service, row.account) as credential:  # the account that was billed
                session = Session(service.client, service.url, credential, connection.connector.expired)
                async with asyncio.timeout(_PATIENCE):
                    answer = await session.call("GET", "/generation", query={"id": row.generation})
                if answer.status != _OK:
                    return None, None
                return cost_billed(answer.body, row.generation), credential.record()
        except UsageUnusable as unusable:
            logger.warning("what a provider says of a cost is not believed", extra={"why": str(unusable)})
        except (Refusal, TimeoutError) as failed:
            logger.info("a provider did not say what a call cost", extra={"why": type(failed).__name__})
        return None, None
