"""How a call has ended, for whoever counts calls: told once of each, when its end is on disk or is lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.identity import Agent
from broker.pipeline.records import Called
from broker.policy import Decision

_MICROSECOND = 1e-6


@dataclass(slots=True)
class Ended:
    """What a call was. Of what its agent has sent there is nothing in it but what the broker itself knows by a name."""

    model: bool
    agent: Agent | None
    called: Called | None
    """None where the agent may know of nothing by the name that it called."""
    decision: Decision | None
    status: str
    code: str | None
    attempts: Sequence[Mapping[str, Any]]
    """At models, as records say it."""
    tries: Sequence[Mapping[str, Any]]
    """Of a service that failed and was asked again, as records say it."""
    steps: Mapping[str, int]
    """When it reached which step, in microseconds from its beginning."""
    seconds: float
    """From its beginning until its end was on disk."""

    @property
    def added(self) -> float | None:
        """How much of that was the broker's own: all but the service's answering. None where none has answered."""
        begun, answered = self.steps.get("recorded"), self.steps.get("executed")
        if begun is None or answered is None:
            return None
        return self.seconds - (answered - begun) * _MICROSECOND


Watch = Callable[[Ended], None]


def nobody(_ended: Ended) -> None:
    """Watch nothing."""
