"""How targets have fared: one that fails again and again is left alone for a while, as long as another can answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from broker.models.route import Route, Target


@dataclass(slots=True)
class _State:
    failures: int = 0
    until: float = 0.0


class Health:
    """The failures in a row of every target, in memory only: a restart tries them all anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: dict[str, _State] = {}

    def rests(self, target: Target) -> bool:
        """Tell whether a target is left alone now."""
        state = self._states.get(target.name)
        return state is not None and self._clock() < state.until

    def rests_for(self, target: Target) -> float:
        """Return for how many seconds yet."""
        state = self._states.get(target.name)
        return 0.0 if state is None else max(0.0, state.until - self._clock())

    def failed(self, route: Route, target: Target, retry_after: float | None) -> None:
        """Count a failure; a service that says when to come back is taken at its word, within an hour."""
        state = self._states.setdefault(target.name, _State())
        state.failures += 1
        rule = route.document.cooldown
        if retry_after is not None:
            state.until = self._clock() + min(retry_after, 3600.0)
        elif state.failures >= rule.failures:
            state.until = self._clock() + rule.seconds

    def answered(self, target: Target) -> None:
        """Forget its failures."""
        self._states.pop(target.name, None)
