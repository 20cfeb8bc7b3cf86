"""A route as it is used: its targets, and in which order a call tries them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.connector import INVOKE, MODELS, Api, ModelProvider
from broker.models.document import ModelRouteDocument, TargetPart

__all__ = ["INVOKE", "Route", "Target", "resource_of"]

Draw = Callable[[], float]
"""A number from 0 up to 1, each time another."""


def resource_of(alias: str) -> str:
    """Return what policies and records call the model of a route."""
    return f"{MODELS}.{alias}"


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One model of one service. `rate` is what a million tokens of input and of output cost, where that is known."""

    part: TargetPart
    provider: ModelProvider
    rate: float | None = None

    @property
    def connector(self) -> str:
        """The service's connector."""
        return self.part.connector

    @property
    def model(self) -> str:
        """The model's name at the service."""
        return self.part.model

    @property
    def name(self) -> str:
        """What records and people call it."""
        return f"{self.part.connector}/{self.part.model}"


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A model as agents know it."""

    alias: str
    document: ModelRouteDocument
    targets: tuple[Target, ...]

    @property
    def resource(self) -> str:
        """What policies call it."""
        return resource_of(self.alias)

    @property
    def apis(self) -> frozenset[Api]:
        """The APIs on which at least one target answers."""
        return frozenset(api for target in self.targets for api in target.provider.paths)

    def cap(self, target: Target, wanted: int | None) -> int:
        """Return the most tokens that one answer of a target may have."""
        caps = (wanted, self.document.max_output_tokens, target.part.max_output_tokens)
        return min(cap for cap in caps if cap is not None)

    def ordered(self, api: Api, resting: Callable[[Target], bool], draw: Draw = random.random) -> Sequence[Target]:
        """Return the targets that speak an API, in the order in which a call tries them; who rests comes last."""
        speaking = [target for target in self.targets if api in target.provider.paths]
        if self.document.order == "weighted":
            speaking.sort(key=lambda target: draw() ** (1 / target.part.weight), reverse=True)  # Efraimidis, Spirakis
        elif self.document.order == "cheapest":
            speaking.sort(key=lambda target: target.rate if target.rate is not None else float("inf"))
        speaking.sort(key=resting)
        return speaking[: self.document.fallback.attempts]
