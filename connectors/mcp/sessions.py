"""Sessions of the handshake era that go on between calls: each of one caller, and of no use to another."""

import time
from collections import OrderedDict
from dataclasses import dataclass

_MOST = 1000  # of one connector; of more, the one that was used longest ago is forgotten
_IDLE_SECONDS = 600.0

Key = tuple[str, str]
"""Whose it is and with which credential, and what the server was told that the client can do."""


class SessionLost(Exception):  # noqa: N818 - it is no error of anybody's
    """The server knows the session no more: nothing was done, and the call is made in a new one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What takes a session up again: its id, and the version that it speaks."""

    id: str
    version: str


class Sessions:
    """Where each caller's session is at."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, tuple[Kept, float]] = OrderedDict()

    def find(self, key: Key) -> Kept | None:
        """Return the caller's session, if it has been used of late."""
        kept, used = self._kept.get(key, (None, 0.0))
        return kept if time.monotonic() - used < _IDLE_SECONDS else None

    def keep(self, key: Key, kept: Kept) -> None:
        """Remember it until the caller's next call."""
        self._kept[key] = kept, time.monotonic()
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Be done with it."""
        self._kept.pop(key, None)
