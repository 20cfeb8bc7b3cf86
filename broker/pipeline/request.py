"""What a door hands to the pipeline, and what it gets back: no SDK's or HTTP's types."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from broker.audit import new_id
from broker.connector import MODELS, Api, Dialogue, Emit, NoDialogue
from broker.identity import WorkloadIdentity

NO_DIALOGUE = NoDialogue()
Transport = Literal["stdio", "sse", "streamable-http", "models"]


@dataclass(frozen=True, slots=True)
class Origin:
    """How a call came: for the trail. What the client says of itself is recorded, never relied on."""

    transport: Transport
    source: str
    client: str | None = None
    client_version: str | None = None
    protocol: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One call of one tool by a workload that has proved itself."""

    identity: WorkloadIdentity
    tool: str
    arguments: Mapping[str, Any]
    origin: Origin
    dialogue: Dialogue = NO_DIALOGUE


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call of one model by a workload that has proved itself. `fields` are the members of `body`, as they came."""

    identity: WorkloadIdentity
    api: Api
    alias: str
    body: bytes
    fields: dict[str, msgspec.Raw]
    origin: Origin
    betas: str | None = None
    call_id: str = field(default_factory=new_id)
    """What it is on record as: known before its answer begins, so that a stream's headers name it."""

    @property
    def tool(self) -> str:
        """What records call what is called."""
        return f"{MODELS}.{self.alias}"

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The request, read whole: for what is to be recorded of it."""
        found: Mapping[str, Any] = msgspec.json.decode(self.body)
        return found


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A model's answer, or what was held back of a stream: its *finished* record is durable."""

    call_id: str
    text: bytes
    stream: bool = False
    cost: int | None = None
    """What it has cost in nano-dollars, where that is known."""


Pass = Callable[[bytes], Coroutine[Any, Any, None]]
"""Takes the events of a stream as they come, whole ones only."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A released result, as JSON text; its *finished* record is durable.

    `in_mcp` says that it is what MCP calls a result, not just its data.
    """

    call_id: str
    text: bytes
    in_mcp: bool = False


__all__ = ["Answer", "Emit", "ModelAnswer", "ModelRequest", "Origin", "Pass", "Request", "Transport", "silent"]


async def silent(_done: int, _total: int | None) -> None:
    """Take progress and tell nobody."""
