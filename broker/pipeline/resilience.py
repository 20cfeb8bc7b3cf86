"""Standing by each connector's service: limits on calls, a circuit that opens, and reads that are tried again.

Every connector has its own, so that a dead service does not disturb others. A write is never repeated.
"""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from broker.connector import LimitsDocument, Session, Tool, ToolCall
from broker.documents import Connection
from broker.errors import (
    CircuitOpen,
    ConnectorBusy,
    Refusal,
    Upstream,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamInterrupted,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from broker.pipeline.breaker import Breaker
from broker.pipeline.records import short
from broker.pipeline.service import harmless
from broker.redact import Matcher

_MINUTE = 60.0
FAILURES = (UpstreamUnreachable, UpstreamTimeout, UpstreamInterrupted, UpstreamFailed)
"""What says that a service is not well; any other answer of it says that it is there."""


class Guard:
    """What is counted of one connector."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun: deque[float] = deque()
        self.breaker = Breaker(clock)
        self.running = 0

    @property
    def last_minute(self) -> int:
        """How many calls were let through in the last minute."""
        while self._begun and self._begun[0] <= self._clock() - _MINUTE:
            self._begun.popleft()
        return len(self._begun)

    @contextmanager
    def passing(self, limits: LimitsDocument) -> Iterator[None]:
        """Let one call through, and learn from how it ends; raise `ConnectorBusy` or `CircuitOpen`."""
        self._check(limits)
        trial = self.breaker.enter(limits.breaker)
        self._begun.append(self._clock())
        self.running += 1
        try:
            yield
        except FAILURES:
            self.breaker.failed(limits.breaker, trial=trial)
            raise
        except Upstream:
            self.breaker.succeeded()
            raise
        except BaseException:
            self.breaker.abandoned(trial=trial)
            raise
        else:
            self.breaker.succeeded()
        finally:
            self.running -= 1

    def _check(self, limits: LimitsDocument) -> None:
        if limits.calls_at_once is not None and self.running >= limits.calls_at_once:
            raise _busy(f"{limits.calls_at_once} calls of this service run already, and no more may", 1)
        if limits.calls_per_minute is not None and self.last_minute >= limits.calls_per_minute:
            wait = self._begun[-limits.calls_per_minute] + _MINUTE - self._clock()
            raise _busy(f"{limits.calls_per_minute} calls of this service in a minute are all that may be made", wait)


class Resilience:
    """The guards of every connector, and how a call is made under them."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._guards: dict[tuple[str, str], Guard] = {}

    def guard(self, connection: Connection) -> Guard:
        """Return what is counted of a connector; another place is another service."""
        key = connection.name, str(connection.document.url)
        if key not in self._guards:
            self._guards[key] = Guard(self._clock)
        return self._guards[key]

    async def run(
        self,
        connection: Connection,
        tool: Tool,
        call: ToolCall,
        session: Session,
        matcher: Matcher,
        tries: list[dict[str, Any]],
    ) -> Any:
        """Run a tool; where it only reads and the service fails, again, so many times as the document says.

        Each time that failed is added to `tries`, but for the last, which is how the call ends; never with words in
        which the matcher finds the credential.
        """
        assert tool.run is not None  # noqa: S101 - the pipeline saw to it
        limits, guard = connection.document.limits, self.guard(connection)
        failure: Refusal | None = None
        while True:
            try:
                with guard.passing(limits):
                    return await tool.run(call, session)
            except (CircuitOpen, ConnectorBusy) as refused:
                raise (failure or refused) from None
            except (*FAILURES, UpstreamBusy) as refusal:
                wait = self._wait(refusal, limits, len(tries)) if tool.reads_only else None
                if wait is None:
                    raise
                failure = refusal
            shown = harmless(failure, matcher)
            tries.append({"code": shown.code, "detail": short(shown.detail), "waited_ms": round(wait * 1000)})
            await self._sleep(wait)

    def _wait(self, refusal: Refusal, limits: LimitsDocument, tried: int) -> float | None:
        """Return how long to wait before the next time; None where there is none."""
        retries = limits.retries
        if tried >= retries.most:
            return None
        asked = float(refusal.facts.get("retry_after", 0))
        silent = isinstance(refusal, UpstreamBusy) and "retry_after" not in refusal.facts
        if silent or asked > retries.longest_seconds:
            return None
        usual = min(retries.longest_seconds, retries.first_seconds * float(2**tried))
        return max(asked, usual * (0.5 + self._chance() / 2))  # not all at the same moment

    def revived(self, connection: Connection) -> None:
        """Close a connector's circuit: somebody has seen that its service is well."""
        self.guard(connection).breaker.succeeded()

    def status(self, connection: Connection) -> dict[str, Any] | None:
        """Return how things stand with a connector, for operators; None for models, whose routes decide."""
        if connection.connector.models is not None:
            return None
        limits, guard = connection.document.limits, self.guard(connection)
        return {
            "circuit": guard.breaker.state(limits.breaker),
            "failures": guard.breaker.failures,
            "opens_in_seconds": round(guard.breaker.left(limits.breaker), 1),
            "running": guard.running,
            "calls_at_once": limits.calls_at_once,
            "last_minute": guard.last_minute,
            "calls_per_minute": limits.calls_per_minute,
            "retries": limits.retries.most,
            "total_seconds": limits.total_seconds,
        }


def _busy(why: str, seconds: float) -> ConnectorBusy:
    wait = max(1, math.ceil(seconds))
    return ConnectorBusy(f"{why}; try again in {wait} seconds.", retry_after=wait)
