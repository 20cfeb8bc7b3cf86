"""The way back to whoever called, while a call runs: a server behind a connector may ask the agent's side something."""

from collections.abc import Mapping
from typing import Any, Protocol

from broker.errors import ClientCannot


class Dialogue(Protocol):
    """What the calling client can be asked and told; everything that goes through is looked at for credentials.

    Clients of the handshake revisions of MCP are asked while the call runs (`waits`). Of others, the call is answered
    with what is asked, and comes again with `answers` and the `state` that it was given.
    """

    @property
    def waits(self) -> bool:
        """Whether the client can be asked while the call runs."""
        ...

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the client says that it can do, in MCP's words: `elicitation`, `sampling`, `roots`."""
        ...

    @property
    def log_level(self) -> str | None:
        """How serious a log message must be for the client to want it; None if it wants none."""
        ...

    @property
    def answers(self) -> Mapping[str, Any] | None:
        """What the client answers to what it was asked the last time."""
        ...

    @property
    def state(self) -> str | None:
        """What it was given the last time, and hands back. It may be anything: it comes from the client."""
        ...

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask the client something, in MCP's words, and return its answer; raise `ClientCannot`."""
        ...

    def asks(self, method: str) -> None:
        """Note that the client is asked this by the answer to its call."""
        ...

    async def log(self, level: str, data: Any, logger: str | None) -> None:
        """Tell the client a log message of this call."""
        ...

    async def updated(self, uri: str) -> None:
        """Tell the client that a resource to which it has subscribed has changed."""
        ...

    def begun(self) -> None:
        """Note that a subscription is open: the client is told that it has it."""
        ...

    async def ended(self) -> None:
        """Return once the client wants its subscription no more."""
        ...


class NoDialogue:
    """For callers that can be asked and told nothing."""

    waits = False
    capabilities: Mapping[str, Any] = {}
    log_level: str | None = None
    answers: Mapping[str, Any] | None = None
    state: str | None = None

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        """Refuse."""
        raise ClientCannot

    def asks(self, method: str) -> None:
        """Note nothing."""

    async def log(self, level: str, data: Any, logger: str | None) -> None:
        """Tell nobody."""

    async def updated(self, uri: str) -> None:
        """Tell nobody."""

    def begun(self) -> None:
        """Note nothing."""

    async def ended(self) -> None:
        """Return at once: nobody waits."""
