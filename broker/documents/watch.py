"""The documents in force: changes on disk are loaded without a restart, whole or not at all."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from broker.documents.check import load, read_files
from broker.documents.snapshot import FindConnector, Invalid, Snapshot
from broker.documents.source import yaml_files
from broker.errors import Refusal

logger = logging.getLogger(__name__)

_LOOK_EVERY = 0.5  # seconds
_SETTLE = 0.25  # seconds between the two reads that must agree, so that half a checkout is never loaded

Loaded = Callable[[Snapshot, bool], Awaitable[None]]
Refused = Callable[[Invalid], Awaitable[None]]


class Documents:
    """Holds the snapshot in force and keeps it true to the directory."""

    def __init__(self, snapshot: Snapshot, find: FindConnector) -> None:
        self.current = snapshot
        self.last_problem: Invalid | None = None
        self._find = find
        self._seen: Mapping[str, tuple[int, int, int]] = _look(snapshot)

    async def watch(self, loaded: Loaded, refused: Refused) -> None:
        """Load changes for ever.

        `loaded(snapshot, restart_needed)` is awaited before a set comes into force, which does not happen if it raises;
        `refused` is told of a set with mistakes. What the Broker document says stays as it was at the start.
        """
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            seen = await asyncio.to_thread(_look, self.current)
            if seen != self._seen and await self._settled():
                self._seen = await asyncio.to_thread(_look, self.current)
                try:
                    await self.reload(loaded, refused)
                except Refusal as refusal:  # it could not be recorded, so it is not in force; it is tried again
                    logger.error("documents not loaded", extra={"code": refusal.code})  # noqa: TRY400 - no traceback
                    self._seen = {}

    async def reload(self, loaded: Loaded, refused: Refused) -> None:
        """Load what is on disk now."""
        try:
            snapshot = await asyncio.to_thread(load, self.current.directory, self._find)
        except Invalid as invalid:
            self.last_problem = invalid
            await refused(invalid)
            return
        self.last_problem = None
        if snapshot.digest == self.current.digest:
            return
        restart_needed = snapshot.broker != self.current.broker
        snapshot = replace(snapshot, broker=self.current.broker, operators=self.current.operators)
        await loaded(snapshot, restart_needed)
        self.current = snapshot
        self._seen = await asyncio.to_thread(_look, snapshot)

    async def _settled(self) -> bool:
        first = await asyncio.to_thread(_digest, self.current)
        await asyncio.sleep(_SETTLE)
        return first is not None and first == await asyncio.to_thread(_digest, self.current)


def _look(snapshot: Snapshot) -> Mapping[str, tuple[int, int, int]]:
    """Note size, time and inode of every file of the set: cheap, and different when any of them may be."""
    found = {}
    for path in {*yaml_files(snapshot.directory), *(snapshot.directory / name for name in snapshot.files)}:
        try:
            status = path.stat()
            found[str(path)] = (status.st_size, status.st_mtime_ns, status.st_ino)
        except OSError:
            found[str(path)] = (-1, 0, 0)
    return found


def _digest(snapshot: Snapshot) -> str | None:
    """Digest the content of every file of the set; None if it cannot be read just now."""
    digest = hashlib.sha256()
    try:
        for name, text in sorted(read_files(snapshot.directory).items()):
            digest.update(name.encode() + b"\0" + text)
        for name in sorted(snapshot.files):
            path: Path = snapshot.directory / name
            digest.update(path.read_bytes() if path.is_file() else b"")
    except OSError:
        return None
    return digest.hexdigest()
