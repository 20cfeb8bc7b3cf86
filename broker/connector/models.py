"""What a service of models is, for those who write a connector for one: which APIs it speaks, and how."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Api = Literal["chat", "responses", "messages", "embeddings"]
"""OpenAI's chat completions, responses and embeddings, and Anthropic's messages: what agents speak."""

APIS: tuple[Api, ...] = ("chat", "responses", "messages", "embeddings")

MODELS = "models"
"""What stands before a model's name where policies and records speak of it as a resource: `models.summarization`."""
INVOKE = "invoke"
"""The one action on a model."""


@dataclass(frozen=True, slots=True)
class ModelProvider:
    """How a service of models is called with what an agent has sent, whose bytes it gets as they are.

    `paths` are below the connector's URL; what is not among them, the service does not speak. `chat_cap` is the field
    by which it bounds the output of a chat completion: whatever a caller asks for stands there. `prices` is the name
    under which its list prices are known. `routes` says that it chooses among providers itself, and must be told how.
    """

    paths: Mapping[Api, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    chat_cap: str = "max_tokens"
    prices: str | None = None
    routes: bool = False
    reasoning: frozenset[Literal["effort", "budget"]] = frozenset({"effort"})
    """How its models take what says how much to think: as an effort, as a budget of tokens, as either."""
    shows_thoughts: bool = True
    """Whether an answer to OpenAI's APIs may hold what the model thought, rather than a summary that was asked for."""
    seconds: float = 300.0
    """How long it may say nothing, unless the Connector document says otherwise."""
    response_bytes: int = 64 << 20
    """How long an answer may be, unless that says otherwise: a stream has some hundred bytes for each of its tokens."""
