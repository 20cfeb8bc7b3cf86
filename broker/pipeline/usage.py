"""How much of a service's allowance each account has used, as answers say; calls that would use it up are refused."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from broker.connector import Usage
from broker.documents import Connection
from broker.egress import Response
from broker.errors import UpstreamBusy

_LOOK_AGAIN = 60.0  # seconds after which one call finds out whether there is room again


@dataclass(frozen=True, slots=True)
class Noted:
    """What a service said last, and when."""

    usage: Usage
    at: float


class Usages:
    """The usage of every connector's service, of each grant by itself: a service counts by whom it knows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted: dict[str, dict[str, Noted]] = {}

    def largest(self, name: str) -> Noted | None:
        """Return what a connector's service said last of the grant of which the most is used; None if of none."""
        every = self._noted.get(name, {}).values()
        return max(every, key=lambda noted: noted.usage.used / max(1, noted.usage.most), default=None)

    def check(self, connection: Connection, grant: str) -> None:
        """Raise `UpstreamBusy`, with when to try again, where the grant has no room but what is left to others."""
        noted = self._noted.get(connection.name, {}).get(grant)
        if noted is None or noted.usage.used < noted.usage.most - connection.document.limits.reserve:
            return
        left = _LOOK_AGAIN - (self._clock() - noted.at)
        if left > 0:
            raise busy(left)
        self._noted[connection.name][grant] = Noted(
            noted.usage, self._clock()
        )  # the others wait for what this one finds

    def noting(self, connection: Connection, grant: str) -> Callable[[Response], bool]:
        """Return the connector's `expired`, that notes what each answer says of usage on its way."""
        usage = connection.connector.usage
        if usage is None:
            return connection.connector.expired

        def expired(response: Response) -> bool:
            if (said := usage(response)) is not None:
                self._note(self._noted.setdefault(connection.name, {}), grant, said)
            return connection.connector.expired(response)

        return expired

    def _note(self, of_connector: dict[str, Noted], grant: str, said: Usage) -> None:
        before = of_connector.get(grant)
        if before is not None and said.used >= said.most:  # a refusal says that it is used up, and not how much it was
            said = Usage(max(said.most, before.usage.most), max(said.most, before.usage.most))
        of_connector[grant] = Noted(said, self._clock())


def busy(seconds: float) -> UpstreamBusy:
    """Return the refusal that says when to try again."""
    wait = max(1, round(seconds))
    return UpstreamBusy(f"The service's usage limit is reached; try again in {wait} seconds.", retry_after=wait)
