"""Signed heads of the trail: made on a schedule, shipped off the machine, and held against what was shipped before."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.audit import Checkpoint, Head, Record, open_checkpoint, timestamp
from broker.errors import AuditUnavailable, NotFound, TrailRolledBack
from broker.evidence.sinks import Sink, SinkFailed
from broker.pipeline import Recorder
from broker.store import Connection, Store
from broker.vault import SigningKeys

logger = logging.getLogger(__name__)

_NEWEST = "checkpoint"  # the setting under which the store keeps the newest head that was signed
_QUIET_SECONDS = 3600.0  # a head is shipped so often even if nothing happens: silence is no gap then
_AGAIN_SECONDS = 1.0
_BROKER: Record = {"service": "broker"}


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head of the log, and the signed checkpoint (C2SP tlog-checkpoint) that says so."""

    head: Head
    checkpoint: str


@dataclass(slots=True)
class _Shipping:
    """How it stands with one sink."""

    sink: Sink
    checked: bool = False
    """Whether what it kept at the start was looked at; nothing is put there before."""
    shipped: int | None = None
    at: str | None = None
    problem: str | None = None


class Heads:
    """Signs the log's heads and ships them. A log signs no head that is not of one growing history."""

    def __init__(
        self, store: Store, signing: SigningKeys, recorder: Recorder, sinks: Sequence[Sink], every: float
    ) -> None:
        self._store = store
        self._signing = signing
        self._recorder = recorder
        self._every = every
        self._shipping = [_Shipping(sink) for sink in sinks]
        self._signed: SignedHead | None = None
        self._at: str | None = None
        self._quiet: tuple[int, float] = (-1, 0.0)
        self._one_at_a_time = asyncio.Lock()

    async def check(self) -> None:
        """Hold the log against the head that it signed last, and against what each sink keeps.

        Raises `TrailRolledBack` if the log is not the one that was signed, or does not reach as far. A sink that cannot
        be asked is asked again before anything is put there.
        """
        newest = await asyncio.to_thread(self._store.read, self._newest)
        if newest is not None:
            await self._hold_against(newest, "the store's own newest signed head")
        for shipping in self._shipping:
            await self._look(shipping)

    async def sign(self) -> SignedHead:
        """Sign the head of the log as it is now; raise `AuditUnavailable` if that cannot be done."""
        async with self._one_at_a_time:
            head: Head = self._store.commits.values[self._store.trail.HEAD]
            text = Checkpoint(self._store.trail.log, head.size, head.root()).text()
            note = await self._signing.sign(text)
            if self._signed is None or note != self._signed.checkpoint:
                await self._store.commits.commit(lambda change: self._store.settings.put(change, _NEWEST, note))
            self._signed, self._at = SignedHead(head, note), timestamp()
            return self._signed

    async def keep(self) -> None:
        """Sign and ship, for ever. While a head cannot be signed, no call is made: nobody could check its record."""
        while True:
            try:
                await self.ship(await self.sign())
                self._recorder.clear("signing")
            except AuditUnavailable as refusal:
                if self._recorder.hinder("signing", refusal.detail or refusal.message):
                    logger.error("the trail's head cannot be signed", extra={"why": refusal.detail})  # noqa: TRY400
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            await asyncio.sleep(self._every)

    async def ship(self, signed: SignedHead, *, actor: Record = _BROKER, always: bool = False) -> None:
        """Put a head wherever heads go, and record it; nothing is done where nothing has happened since the last."""
        size, at = self._quiet
        due = always or signed.head.size != size or time.monotonic() - at > _QUIET_SECONDS
        before = {shipping.sink.name: shipping.problem for shipping in self._shipping}
        waiting = [one for one in self._shipping if due or one.problem is not None or not one.checked]
        for shipping in waiting:
            await self._ship(shipping, signed)
        done = [one.sink.name for one in waiting if one.problem is None]
        failed = [one for one in waiting if one.problem is not None and one.problem != before[one.sink.name]]
        if done or failed:
            await self._note(signed, done, failed, actor)

    def status(self) -> Mapping[str, Any]:
        """Say which head was signed last and when, and how it stands with each sink."""
        return {
            "key": str(self._signing.current),
            "signed": self._signed.head.size if self._signed else None,
            "signed_at": self._at,
            "ship": [
                {"name": one.sink.name, "records": one.shipped, "at": one.at, "problem": one.problem}
                for one in self._shipping
            ],
        }

    def names(self) -> list[str]:
        """Return the sinks' names; raise `NotFound` if there is none."""
        if not self._shipping:
            raise NotFound("No sink is configured: name one under 'trail.ship' in the Broker document.")
        return [one.sink.name for one in self._shipping]

    def _newest(self, connection: Connection) -> str | None:
        return self._store.settings.get(connection, _NEWEST)

    async def _note(self, signed: SignedHead, done: list[str], failed: list[_Shipping], actor: Record) -> None:
        await self._recorder.note(
            "checkpoint_shipped" if done else "checkpoint_not_shipped",
            actor=actor,
            checkpoint={"size": signed.head.size, "root": signed.head.root().hex()},
            to=done,
            failed=[{"name": one.sink.name, "why": one.problem} for one in failed],
        )
        head: Head = self._store.commits.values[self._store.trail.HEAD]
        self._quiet = head.size, time.monotonic()

    async def _ship(self, shipping: _Shipping, signed: SignedHead) -> None:
        if not shipping.checked:
            await self._look_again(shipping)
        if not shipping.checked:
            return
        try:
            await shipping.sink.put(signed.checkpoint)
        except SinkFailed as failed:
            self._failed(shipping, str(failed))
        else:
            shipping.shipped, shipping.at, shipping.problem = signed.head.size, timestamp(), None
            name, note = _shipped(shipping), signed.checkpoint
            await self._store.commits.commit(lambda change: self._store.settings.put(change, name, note))

    async def _look_again(self, shipping: _Shipping) -> None:
        """Look at a sink that could not be asked at the start; if the log is behind it, stop serving calls."""
        try:
            await self._look(shipping)
        except TrailRolledBack as refusal:
            self._failed(shipping, refusal.message)
            if self._recorder.hinder("rolled back", refusal.message):
                await self._recorder.note("trail_rolled_back", sink=shipping.sink.name, why=refusal.message)

    async def _look(self, shipping: _Shipping) -> None:
        name = shipping.sink.name
        try:
            kept = await shipping.sink.fetch()
            if kept is not None:
                await self._hold_against(kept, f"the head at {name}")
        except (SinkFailed, ValueError) as failed:
            self._failed(shipping, str(failed))
            return
        before = await asyncio.to_thread(
            self._store.read, lambda connection: self._store.settings.get(connection, _shipped(shipping))
        )
        if kept is None and before is not None:
            logger.warning("a head that was shipped is gone", extra={"sink": name})
            await self._recorder.note("shipped_head_missing", sink=name, checkpoint=before)
        shipping.checked, shipping.problem = True, None

    def _failed(self, shipping: _Shipping, problem: str) -> None:
        if shipping.problem != problem:
            logger.warning("a head cannot be shipped", extra={"sink": shipping.sink.name, "why": problem})
        shipping.problem = problem

    async def _hold_against(self, note: str, what: str) -> None:
        """Raise `TrailRolledBack` if the log is not one that grew out of a signed head; `ValueError` for no head of it.

        A head of this log by a key that is not known here is of a history that is not this one.
        """
        log, unknown = self._store.trail.log, "signed by a key that this store does not know"
        try:
            checkpoint, _ = open_checkpoint(note, [one.key for one in self._signing.keys])
        except ValueError:
            if _origin(note) != log:
                raise ValueError("what is there is no signed head of this log; move it away") from None
            raise TrailRolledBack(_rolled_back(what, unknown)) from None
        if checkpoint.origin != log:
            raise ValueError(f"what is there is a head of another log, {checkpoint.origin}")
        head: Head = self._store.commits.values[self._store.trail.HEAD]
        if checkpoint.size > head.size:
            raise TrailRolledBack(_rolled_back(what, f"of {checkpoint.size} records, and the store has {head.size}"))
        root = await asyncio.to_thread(self._store.read, lambda connection: self._root_at(connection, checkpoint.size))
        if root != checkpoint.root:
            raise TrailRolledBack(_rolled_back(what, f"of another history than the store's {head.size} records"))

    def _root_at(self, connection: Connection, size: int) -> bytes | None:
        try:
            return self._store.trail.head_at(connection, size).root()
        except ValueError:
            return None


def _shipped(shipping: _Shipping) -> str:
    return f"shipped to {shipping.sink.name}"


def _origin(note: str) -> str:
    return note.partition("\n")[0]


def _rolled_back(what: str, why: str) -> str:
    return (
        f"{what[0].upper()}{what[1:]} is {why}: the store was replaced by an older or another one. Put the right one "
        "back. If it is lost: keep what is left as evidence, and begin a new log, with a name and a store of its own."
    )
