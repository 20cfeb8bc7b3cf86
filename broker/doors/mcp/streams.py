"""What stays open between messages, and for whom: it ends when the agent is barred, and when the broker stops."""

import contextlib
from collections.abc import Callable, Iterator

import anyio

Barred = Callable[[str], bool]
"""Tells of a workload whether its agent may no longer call."""


def everyone(_workload: str) -> bool:
    """Bar every agent: the broker stops."""
    return True


class Stream:
    """One open connection or stream. It belongs to the first identity that proves itself on it."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.owner: str | None = None


class OpenStreams:
    """The open streams of one transport."""

    def __init__(self) -> None:
        self._open: set[Stream] = set()

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.contextmanager
    def opened(self, owner: str | None = None) -> Iterator[Stream]:
        """Keep a stream while inside, which is left when the stream is cut."""
        stream = Stream()
        stream.owner = owner
        self._open.add(stream)
        try:
            with stream.scope:
                yield stream
        finally:
            self._open.discard(stream)

    def cut(self, barred: Barred) -> None:
        """End every stream of a barred agent, and those that belong to nobody yet if everyone is barred."""
        for stream in list(self._open):
            if barred is everyone or (stream.owner is not None and barred(stream.owner)):
                stream.scope.cancel()
