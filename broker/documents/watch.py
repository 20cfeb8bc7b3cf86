"""The documents in force: changes on disk are loaded without a restart, whole or not at all."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from broker.documents.agents import Operators
from broker.documents.check import load
from broker.documents.files import NO_CONTENTS, Digests, digests, look
from broker.documents.memory import Memory, in_short_turns
from broker.documents.snapshot import FindConnector, Invalid, Snapshot
from broker.documents.source import Problem
from broker.errors import Refusal

logger = logging.getLogger(__name__)

_LOOK_EVERY = 0.5  # seconds
_SETTLE = 0.25  # seconds between two reads that must agree: nobody is between two files of a checkout for that long
_MOST_TRIES = 40  # at the start

Loaded = Callable[[Snapshot, bool], Awaitable[None]]
Refused = Callable[[Invalid], Awaitable[None]]
InForce = Callable[[Snapshot], Awaitable[None]]


async def load_settled(directory: Path, find: FindConnector, memory: Memory) -> Snapshot:
    """Load a set as it stands, once it is the same a moment later; raise `Invalid` as `load` does."""
    for _ in range(_MOST_TRIES):
        read = await asyncio.to_thread(_load, directory, find, None, memory)
        await asyncio.sleep(_SETTLE)
        if await asyncio.to_thread(digests, directory, read.digests) == read.digests:
            break
    else:
        raise Invalid([Problem(str(directory), 1, "", "the documents do not stop changing")])
    if isinstance(read, Invalid):
        raise read
    return read


def _load(directory: Path, find: FindConnector, operators: Operators | None, memory: Memory) -> Snapshot | Invalid:
    with in_short_turns():
        memory.begin()
        try:
            return load(directory, find, operators_in_force=operators, memory=memory)
        except Invalid as invalid:
            return invalid
        finally:
            memory.forget()


class Documents:
    """Holds the snapshot in force and keeps it true to the directory."""

    def __init__(self, snapshot: Snapshot, find: FindConnector, memory: Memory | None = None) -> None:
        """Begin with a set in force; `memory` knows what was read of it."""
        self.current = snapshot
        self._memory = Memory() if memory is None else memory
        self.last_problem: Invalid | None = None
        self.generation = 1
        """How many sets have been in force since the start, this one included."""
        self.refused = 0
        """How many sets with mistakes were found on disk since the start."""
        self.loaded_at = time.time()
        self._find = find
        self._read: Digests = snapshot.digests
        self._seen: Mapping[str, tuple[int, ...]] = {}
        self._unrecorded: str | None = None

    def let_go(self) -> None:
        """Forget what the files hold: it is in the history, or nobody wants it."""
        self.current = replace(self.current, contents=NO_CONTENTS)

    async def watch(self, loaded: Loaded, refused: Refused, in_force: InForce) -> None:
        """Load changes for ever.

        `loaded(snapshot, restart_needed)` is awaited before a set comes into force, which does not happen if it raises;
        `in_force(snapshot)` once it has; `refused` is told of a set with mistakes. What the Broker document says stays
        as it was at the start.
        """
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            seen = await asyncio.to_thread(look, self.current.directory, self._read)
            if seen == self._seen:
                continue
            if await asyncio.to_thread(self._is_as_read):
                self._seen = seen
                continue
            await self.reload(loaded, refused, in_force)

    async def reload(self, loaded: Loaded, refused: Refused, in_force: InForce) -> None:
        """Load what is on disk now, if it is still the same a moment later; otherwise the next look finds it."""
        read = await asyncio.to_thread(_load, self.current.directory, self._find, self.current.operators, self._memory)
        seen = await asyncio.to_thread(look, self.current.directory, read.digests)
        await asyncio.sleep(_SETTLE)
        if await asyncio.to_thread(digests, self.current.directory, read.digests) != read.digests:
            return
        try:
            await self._take(read, loaded, refused, in_force)
        except Refusal as refusal:  # it could not be recorded, so it is not in force; the next look tries again
            if self._unrecorded != refusal.code:
                logger.error("documents not loaded", extra={"code": refusal.code})  # noqa: TRY400 - no traceback
            self._unrecorded = refusal.code
            return
        self._read, self._seen, self._unrecorded = read.digests, seen, None

    async def _take(self, read: Snapshot | Invalid, loaded: Loaded, refused: Refused, in_force: InForce) -> None:
        if isinstance(read, Invalid):
            self.last_problem = read
            self.refused += 1
            await refused(read)
            return
        if read.digest != self.current.digest:
            restart_needed = read.broker != self.current.broker
            started = self.current
            snapshot = replace(
                read,
                base=started.base,
                broker=started.broker,
                broker_name=started.broker_name,
                operators=started.operators,
                sinks=started.sinks,
                announcing=started.announcing,
            )
            await loaded(snapshot, restart_needed)
            self.current = snapshot
            self.generation, self.loaded_at = self.generation + 1, time.time()
            self.let_go()
            await in_force(self.current)
        elif self.last_problem is not None:
            logger.info("the documents on disk are in force again")
        self.last_problem = None

    def _is_as_read(self) -> bool:
        """Tell whether every file is what it was when it was last read, however often it was touched."""
        return digests(self.current.directory, self._read) == self._read
