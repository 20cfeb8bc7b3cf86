"""What stays open between messages, and for whom: it ends when the agent is barred, and when the broker stops."""

import contextlib
from collections import Counter
from collections.abc import Iterator

import anyio

from broker.control import Barred
from broker.errors import TooManyConnections


def everyone(_workload: str) -> bool:
    """Bar every agent: the broker stops."""
    return True


class Stream:
    """One open connection or stream. It belongs to the first identity that proves itself on it.

    `owner` is its workload, by which it is cut; `principal` says on whose behalf, too.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.owner: str | None = None
        self.principal: str | None = None


class OpenStreams:
    """Open streams, each of which can be ended; of one identity, as many as `most_of_one`."""

    def __init__(self, most_of_one: int | None = None) -> None:
        self._open: set[Stream] = set()
        self._of_owner: Counter[str | None] = Counter()
        self._most_of_one = most_of_one

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.contextmanager
    def opened(self, owner: str | None = None) -> Iterator[Stream]:
        """Keep a stream while inside, which is left when the stream is cut; raise `TooManyConnections`."""
        if owner is not None:
            self.check(owner)
        stream = Stream()
        self._open.add(stream)
        stream.owner = owner
        self._of_owner[owner] += 1
        try:
            with stream.scope:
                yield stream
        finally:
            self._open.discard(stream)
            self._one_less(stream.owner)

    def belongs(self, stream: Stream, owner: str | None) -> None:
        """Say whose an open stream is from now on."""
        self._one_less(stream.owner)
        self._of_owner[owner] += 1
        stream.owner = owner

    def _one_less(self, owner: str | None) -> None:
        self._of_owner[owner] -= 1
        if not self._of_owner[owner]:
            del self._of_owner[owner]

    def check(self, owner: str) -> None:
        """Return if the identity may have one more stream; raise `TooManyConnections` otherwise."""
        if self._most_of_one is not None and self._of_owner[owner] >= self._most_of_one:
            raise TooManyConnections

    def cut(self, barred: Barred) -> None:
        """End every stream of a barred agent, and those that belong to nobody yet if everyone is barred."""
        for stream in list(self._open):
            if barred is everyone or (stream.owner is not None and barred(stream.owner)):
                stream.scope.cancel()
