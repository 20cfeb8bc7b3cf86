"""One attempt at one target: held by itself, executed with one credential, settled by itself, and on record."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.budget import Ask, Hold, Shape, UsageUnusable, cost_of, input_bound, usage_of
from broker.connector import INVOKE, MODELS, Api
from broker.errors import (
    GrantUnavailable,
    ModelUnavailable,
    ReauthorizationNeeded,
    Refusal,
    StreamBroken,
    UpstreamBusy,
    UpstreamInterrupted,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from broker.models import Broken, Failure, Route, Said, Target, Trouble, Wanted
from broker.pipeline.records import short

_SHAPES: Mapping[Api, Shape] = {
    "chat": "openai-chat",
    "responses": "openai-responses",
    "messages": "anthropic-messages",
    "embeddings": "openai-embeddings",
}
_OWN_TOOL_TOKENS = 1024  # a description that the provider writes itself; Anthropic's are 245 to 735
_TROUBLES: tuple[tuple[type[Refusal], Trouble], ...] = (
    (UpstreamTimeout, "timeout"),
    (UpstreamUnreachable, "unavailable"),
    (UpstreamInterrupted, "unavailable"),
    (UpstreamMalformed, "unavailable"),
    (StreamBroken, "unavailable"),
    (UpstreamBusy, "rate_limited"),
    (GrantUnavailable, "credential"),
    (ReauthorizationNeeded, "credential"),
    (UpstreamUnauthorized, "credential"),
)


class Failed(Exception):  # noqa: N818 - it is what an attempt has, and no mistake of ours
    """An attempt that the provider has answered with an error. Never leaves the pipeline."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Model:
    """What is called, as records and policies have it."""

    resource: str
    action: str = INVOKE
    connector: str = MODELS


@dataclass(slots=True)
class Attempt:
    """One attempt, as far as it has come."""

    number: int
    target: Target
    hold: Hold
    began: float = field(default_factory=time.perf_counter)
    status: str = "cut"
    trouble: Trouble | None = None
    detail: str | None = None
    first_ms: int | None = None
    ms: int | None = None
    said: Said = field(default_factory=Said)
    generation: str | None = None
    reasoning: Mapping[str, Any] | None = None
    """What its target was told of how much to think."""

    def named(self, generation: str | None, grant: str) -> None:
        """Note what the provider calls its answer; OpenRouter can be asked by it what it has billed to a grant."""
        self.generation = generation
        if generation is not None and self.target.provider.routes:
            self.hold.known_as(generation, grant)

    def elapsed(self) -> int:
        """Return how many milliseconds ago it began."""
        return round((time.perf_counter() - self.began) * 1000)

    def record(self) -> dict[str, Any]:
        """Return what the trail says of it."""
        part, said = self.target.part, self.said
        facts = {
            "target": self.target.name,
            "region": part.region,
            "labels": list(part.labels),
            "status": self.status,
            "trouble": self.trouble,
            "detail": short(self.detail),
            "first_ms": self.first_ms,
            "ms": self.ms,
            "answered_by": short(said.model),
            "provider_says": short(said.provider),
            "finish": short(said.finish),
            "generation": short(self.generation),
            "reasoning": self.reasoning,
        }
        return {name: one for name, one in facts.items() if one not in (None, [])} | self.hold.record()

    def answered(self, api: Api, said: Said) -> None:
        """Note a whole answer, and settle by what it says of its usage; by the most that it may be, otherwise."""
        self.status, self.said, self.ms = "answered", said, self.elapsed()
        try:
            usage = usage_of(_SHAPES[api], said.usage)
            cost = cost_of(said.usage) if self.target.provider.routes else None
        except UsageUnusable as unusable:
            self.detail = f"its usage is of no use: {unusable}"
            return
        if cost is not None:
            self.hold.charged(cost, usage)
        else:
            self.hold.used(usage)

    def failed(self, error: Exception, *, sent: bool, emitted: bool) -> Refusal:
        """Note why it failed, and settle: nothing where the provider has not taken the work; all of it, otherwise."""
        self.status, self.ms = "failed", self.elapsed()
        if isinstance(error, Failed | Broken):
            failure = error.failure
            self.trouble, self.detail = failure.trouble or self.trouble, failure.detail
            # What broke off a stream had taken the work up, unless it says otherwise at once
            free = error.free if isinstance(error, Broken) else failure.free or self.target.provider.routes
            if free and not emitted:
                self.hold.unsent()
            return error if isinstance(error, Refusal) and emitted else failure.refusal()
        assert isinstance(error, Refusal)  # noqa: S101 - what else is raised is no failure of the provider
        self.trouble = next((trouble for kind, trouble in _TROUBLES if isinstance(error, kind)), None)
        self.detail = error.detail or error.code
        if not sent or isinstance(error, UpstreamUnauthorized):
            self.hold.unsent()
        return ModelUnavailable(detail=self.detail) if self.trouble == "credential" else error


def ask_of(wanted: Wanted, body: bytes, route: Route, target: Target) -> Ask:
    """Return what an attempt may use at most: every byte of the request a token, and the output up to the cap."""
    text = body.decode("utf-8", "replace")
    # messages are each more bytes of JSON than a provider adds tokens for them
    given = input_bound(text, 0, wanted.tools) + wanted.own_tools * _OWN_TOOL_TOKENS
    if route.document.media is not None:
        given += wanted.media * route.document.media.tokens_each
    output = 0 if wanted.api == "embeddings" else route.cap(target, wanted.cap)
    return Ask(given, output, wanted.choices, wanted.caching)
