"""What a door hands to the pipeline, and what it gets back: no SDK's or HTTP's types."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker.connector import Dialogue, Emit, NoDialogue
from broker.identity import WorkloadIdentity

NO_DIALOGUE = NoDialogue()
Transport = Literal["stdio", "sse", "streamable-http"]


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
class Answer:
    """A released result, as JSON text; its *finished* record is durable.

    `in_mcp` says that it is what MCP calls a result, not just its data.
    """

    call_id: str
    text: bytes
    in_mcp: bool = False


__all__ = ["Answer", "Emit", "Origin", "Request", "Transport", "silent"]


async def silent(_done: int, _total: int | None) -> None:
    """Take progress and tell nobody."""
