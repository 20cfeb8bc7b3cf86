"""Ports for programs that cannot be handed a listener and must be told a number."""

import contextlib
import random
import socket

_DICE = random.SystemRandom()  # what a test seeds must not give two workers the same numbers


def free_port() -> int:
    """Return a port that is free now, and that nobody takes before it is used.

    It is below those that kernels hand out by themselves, to whoever binds to port 0 and to every client: one of those
    may be another worker's by the time that the program listens.
    """
    while True:
        port = _DICE.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
