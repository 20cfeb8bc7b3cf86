"""Leaving a service alone that fails: after so many failures in a row nobody calls it, until one call finds it well."""

import math
from collections.abc import Callable
from typing import Literal

from broker.connector import BreakerDocument
from broker.errors import CircuitOpen

State = Literal["closed", "open", "half_open"]


class Breaker:
    """The circuit of one connector. Closed: calls pass. Open: none does. Half open: one, whose end decides."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._opened: float | None = None
        self._trial = False
        self.failures = 0
        """How many calls in a row have failed."""

    def state(self, document: BreakerDocument) -> State:
        """Return what a call would meet now."""
        if self._opened is None:
            return "closed"
        return "open" if self._trial or self.left(document) > 0 else "half_open"

    def left(self, document: BreakerDocument) -> float:
        """Return in how many seconds one call is let through; 0 where it may go now."""
        return 0.0 if self._opened is None else max(0.0, self._opened + document.open_seconds - self._clock())

    def enter(self, document: BreakerDocument) -> bool:
        """Let a call through, and tell whether it is the one that tries; raise `CircuitOpen`, with when to come again.

        Whoever enters says how it ended: `succeeded`, `failed` or `abandoned`, with what this returned.
        """
        state = self.state(document)
        if state == "closed":
            return False
        if state == "open":
            wait = max(1, math.ceil(self.left(document)))
            words = f"The service has failed {self.failures} times in a row and is left alone"
            raise CircuitOpen(f"{words}; try again in {wait} seconds.", retry_after=wait)
        self._trial = True
        return True

    def succeeded(self) -> None:
        """Close: the service answers, whichever call has found that out."""
        self._opened, self._trial, self.failures = None, False, 0

    def failed(self, document: BreakerDocument, *, trial: bool) -> None:
        """Count a failure, and open where it is one too many; a late failure keeps no open circuit open for longer."""
        if self._opened is None or trial:
            self.failures += 1
        if trial or (self._opened is None and self.failures >= document.failures):
            self._opened = self._clock()
        self._trial = self._trial and not trial

    def abandoned(self, *, trial: bool) -> None:
        """Forget a call that has told nothing of the service; the next one may try."""
        self._trial = self._trial and not trial
