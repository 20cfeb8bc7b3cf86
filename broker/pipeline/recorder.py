"""What makes calls and events evidence: the store, the key for digests, and what is still owed to the trail."""

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from broker.audit import new_id, timestamp
from broker.errors import AuditUnavailable
from broker.pipeline.ended import Watch, nobody
from broker.pipeline.records import finished
from broker.store import Pending, Store, Transaction

Change = Callable[[Transaction], None]
_RETRY_SECONDS = 1.0
_CLOCK_TOLERANCE = 30.0  # seconds, as of an issuer's clock: NTP steps are smaller
_CLOCK_BACK = "the clock was set back: what happens now would be on record as having happened before"


class Seals(Protocol):
    """Seals what a policy has recorded encrypted."""

    def sealed_payload(self, call_id: str, field: str, data: bytes) -> bytes:
        """Return a value sealed for its call and field: of no use anywhere else, and different each time."""
        ...


class Recorder:
    """Records events, and settles what could not be written when its call ended. A call records itself: `Story`."""

    def __init__(self, store: Store, digest_key: bytes, seals: Seals, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self.seals = seals
        self.running = 0
        """How many calls have begun and are not yet recorded to their end."""
        self.watch: Watch = nobody
        """Told of each call once, when it has ended."""
        self.clock = clock
        self._latest = clock()
        """The latest moment that this clock has shown."""
        self._digest_key = digest_key
        self._hindrances: dict[str, str] = {}
        self._owed: list[Change] = []
        self._settling: Pending[None] | None = None
        self._failures_told = 0
        """How many failures of the store there were when a record last said that it works again."""

    @property
    def owed(self) -> int:
        """How many records wait for the store to take them."""
        return len(self._owed)

    @property
    def hindrances(self) -> Mapping[str, str]:
        """What keeps records from being evidence now, and why: no call is made meanwhile."""
        return self._hindrances

    def hinder(self, what: str, why: str) -> bool:
        """Have no call made until `clear`; returns whether that is new."""
        new = what not in self._hindrances
        self._hindrances[what] = why
        return new

    def clear(self, what: str) -> None:
        """Let calls be made again, as far as this is concerned."""
        self._hindrances.pop(what, None)

    def check(self) -> None:
        """Raise `AuditUnavailable` if a call's records would be no evidence."""
        if self.store.commits.stalled:
            raise AuditUnavailable(detail="the disk takes too long")
        if self._behind() > _CLOCK_TOLERANCE:
            raise AuditUnavailable(detail=_CLOCK_BACK)
        for what, why in self._hindrances.items():
            raise AuditUnavailable(detail=f"{what}: {why}")

    async def look_at_the_clock(self) -> None:
        """Put on record that the clock was set back, and that it has caught up; meanwhile no call is made."""
        behind = self._behind()
        known = "clock" in self._hindrances
        if behind > _CLOCK_TOLERANCE and not known:
            await self.note("clock_set_back", seconds=int(behind))
            self.hinder("clock", _CLOCK_BACK)
        elif known and behind <= _CLOCK_TOLERANCE:
            await self.note("clock_caught_up")
            self.clear("clock")

    def _behind(self) -> float:
        """Return by how many seconds the clock is behind the latest moment that it has shown."""
        now = self.clock()
        self._latest = max(self._latest, now)
        return self._latest - now

    def digest(self, data: bytes) -> str:
        """Return a keyed digest: equal data can be recognised, and no dictionary finds what it was."""
        return hmac.digest(self._digest_key, data, hashlib.sha256).hex()

    def digesting(self) -> "hmac.HMAC":
        """Return a keyed digest that is fed bit by bit; of the same data, the same as `digest`."""
        return hmac.new(self._digest_key, None, hashlib.sha256)

    def derived(self, purpose: str) -> bytes:
        """Return a key of 32 bytes for a purpose of its own, the same for as long as the store lives."""
        return hmac.digest(self._digest_key, b"key for " + purpose.encode(), hashlib.sha256)

    async def note(self, kind: str, change: Change | None = None, **facts: Any) -> None:
        """Record an event that is no call, and make the change that it speaks of; durable, both, once it returns."""
        record = {"id": new_id(), "time": timestamp(), "kind": kind, **facts}

        def both(transaction: Transaction) -> None:
            if change is not None:
                change(transaction)
            self.store.trail.append(transaction, record)

        await self.store.commits.commit(both)

    async def recover(self) -> list[str]:
        """Finish, as `outcome_unknown`, the calls that a dead process left open; return their ids."""
        unfinished = await asyncio.to_thread(self.store.read, self.store.trail.open_calls)

        def change(transaction: Transaction) -> None:
            for call_id, since in unfinished:
                outcome = {"status": "outcome_unknown", "code": None, "decided": since, "found_at_start": True}
                self.store.trail.append(transaction, finished(call_id, outcome, None))
                self.store.trail.close_call(transaction, call_id)

        if unfinished:
            await self.store.commits.commit(change)
        return [call_id for call_id, _ in unfinished]

    def owe(self, change: Change) -> None:
        """Keep a *finished* that could not be written, to be written as soon as the store takes it."""
        self._owed.append(change)

    async def keep_settling(self) -> None:
        """Write what is owed, for ever."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            await self.look_at_the_clock()
            await self.settle()

    async def settle(self) -> None:
        """Write what is owed, if the store takes it now; and say so on record where a store that failed works again."""
        while self._owed:
            if self._settling is None:
                self._settling = self.store.commits.submit(self._owed[0])
            try:
                await asyncio.shield(self._settling.done)  # who stops waiting finds it again
            except AuditUnavailable:
                self._settling = None
                return
            self._settling = None
            self._owed.pop(0)
        failures = self.store.commits.failures
        if failures != self._failures_told:
            with contextlib.suppress(AuditUnavailable):
                await self.note("recording_resumed")
                self._failures_told = failures
