"""`spec` of a `ModelRoute` document: a model as agents know it, and which services answer for it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from broker.connector import Name

Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$", examples=["eu"])]
ModelName = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$", examples=["gpt-5.1"])]
Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,100}$", examples=["google-vertex/us-east5"])]
Dollars = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Trouble = Literal["rate_limited", "overloaded", "unavailable", "timeout", "credential", "context_length", "moderation"]
"""Why an attempt can fail before anything of an answer has come."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model thinks: words that providers share, each of which means something else by them."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TierPart(_Part):
    """What differs for calls with a longer input: for all of their tokens."""

    above_input_tokens: Annotated[int, Field(ge=1, le=100_000_000)]
    input: Dollars | None = None
    output: Dollars | None = None
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    reasoning: Dollars | None = None


def _makes_output(tier: TierPart) -> bool:
    return tier.output is not None or tier.reasoning is not None


class PricesPart(_Part):
    """What a target costs, in US dollars for a million tokens; it stands before every price list, and as a whole."""

    input: Dollars
    output: Dollars | None = Field(default=None, description="Without it, only embeddings have a price.")
    cache_read: Dollars | None = Field(default=None, description="Tokens read from the provider's cache.")
    cache_write: Dollars | None = Field(default=None, description="Tokens written to it, for five minutes.")
    cache_write_1h: Dollars | None = Field(default=None, description="Tokens written to it, for an hour.")
    reasoning: Dollars | None = Field(default=None, description="Tokens of reasoning, where they are not as output.")
    request: Dollars = Field(default=0, description="US dollars for each call, whatever its tokens.")
    tiers: Annotated[list[TierPart], Field(max_length=10)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _output_has_a_price_from_the_start(self) -> "PricesPart":
        if self.output is None and (self.reasoning is not None or any(_makes_output(tier) for tier in self.tiers)):
            raise ValueError("a tier or reasoning has a price of output, and 'output' itself has none: state it, too")
        return self


class MaxPricePart(_Part):
    """The most that OpenRouter may pay a provider: US dollars for a million tokens, or for one call or image."""

    prompt: Dollars | None = None
    completion: Dollars | None = None
    request: Dollars | None = None
    image: Dollars | None = None


class ProviderPart(_Part):
    """How OpenRouter chooses among providers; agents have no say in it."""

    only: Annotated[list[Slug], Field(min_length=1)] | None = None
    order: Annotated[list[Slug], Field(min_length=1)] | None = None
    ignore: list[Slug] = Field(default_factory=list)
    allow_fallbacks: bool = True
    require_parameters: bool = True
    data_collection: Literal["allow", "deny"] = "deny"
    zdr: bool = Field(default=False, description="Only endpoints that retain nothing.")
    quantizations: list[Label] = Field(default_factory=list)
    sort: Literal["price", "throughput", "latency"] | None = None
    max_price: MaxPricePart | None = Field(default=None, description="Without it, the target's own prices are sent.")


class ReasoningPart(_Part):
    """How much a model thinks where its caller does not say: an effort, or a budget of tokens below the output cap."""

    effort: Effort | None = None
    max_tokens: Annotated[int, Field(ge=1024, le=1_000_000)] | None = None
    exclude: bool = Field(default=False, description="Whether its thoughts are left out of answers.")

    @model_validator(mode="after")
    def _says_one_thing(self) -> "ReasoningPart":
        if self.effort is not None and self.max_tokens is not None:
            raise ValueError("'effort' and 'max_tokens' both say how much: state one of them")
        return self


class TargetPart(_Part):
    """One model of one service that answers for the route."""

    connector: Name = Field(description="The Connector document of the service.")
    model: ModelName = Field(description="The model's name there; for Azure OpenAI, that of the deployment.")
    region: Label | None = Field(default=None, description="Where it runs: a statement of yours, for people and rules.")
    labels: list[Label] = Field(
        default_factory=list, description="How it handles data, as you know it: 'zdr', 'no-training'."
    )
    weight: Annotated[int, Field(ge=1, le=1000)] = Field(default=1, description="Its share, where order is 'weighted'.")
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    prices: PricesPart | None = None
    provider: ProviderPart | None = Field(default=None, description="For OpenRouter only.")
    reasoning: ReasoningPart | None = Field(default=None, description="In the place of the route's.")
    reasoning_as: Literal["effort", "budget", "none"] | None = Field(
        default=None,
        description="How the model takes reasoning: as an effort or as a budget of tokens (what callers say is written "
        "so), or not at all (then who asks for it is answered by another target). Without it, as callers say it.",
    )


class FallbackPart(_Part):
    """When the next target is tried: only ever before a byte of an answer has come."""

    on: list[Trouble] = ["rate_limited", "overloaded", "unavailable", "credential"]
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(default=3, description="The most targets of one call.")


class CooldownPart(_Part):
    """When a target that fails is left alone for a while."""

    failures: Annotated[int, Field(ge=1, le=100)] = Field(default=3, description="So many in a row.")
    seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0


class MediaPart(_Part):
    """Whether agents may send images, sound and files, and how many tokens each of them may cost at most."""

    tokens_each: Annotated[int, Field(ge=1, le=1_000_000)]
    remote: bool = Field(default=False, description="Whether the provider may fetch them from URLs.")


class RequirePart(_Part):
    """What must be true of every target: a document with one of which it is not is refused."""

    regions: Annotated[list[Label], Field(min_length=1)] | None = None
    labels: list[Label] = Field(default_factory=list)


class ModelRouteDocument(_Part):
    """`spec` of a `ModelRoute` document."""

    targets: Annotated[list[TargetPart], Field(min_length=1, max_length=20)]
    order: Literal["listed", "weighted", "cheapest"] = Field(
        default="listed", description="Which target is tried first; 'cheapest' needs a price of each."
    )
    require: RequirePart = Field(default_factory=RequirePart)
    fallback: FallbackPart = Field(default_factory=FallbackPart)
    cooldown: CooldownPart = Field(default_factory=CooldownPart)
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=4096, description="The most that one answer may have, whatever a caller asks for."
    )
    max_choices: Annotated[int, Field(ge=1, le=128)] = Field(default=1, description="The most answers to one call (n).")
    parameters: list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", examples=["chat_template_kwargs"])]] = (
        Field(default_factory=list, description="Further fields that agents may set, which only this provider knows.")
    )
    betas: list[Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,100}$", examples=["context-1m-2025-08-07"])]] = Field(
        default_factory=list, description="Values of 'anthropic-beta' that are passed on; no others are."
    )
    media: MediaPart | None = None
    reasoning: ReasoningPart | None = None

    @model_validator(mode="after")
    def _no_side_door(self) -> "ModelRouteDocument":
        if barred := sorted(ROUTING & set(self.parameters)):
            raise ValueError(f"{', '.join(barred)} is the route's to say, never an agent's")
        return self


ROUTING = frozenset(
    {
        "model",
        "models",
        "provider",
        "plugins",
        "preset",
        "presets",
        "route",
        "transforms",
        "fallbacks",
        "web_search_options",
    }
    | {
        "background",
        "store",
        "previous_response_id",
        "conversation",
        "container",
        "mcp_servers",
        "service_tier",
        "prompt",
    }
    | {"stream", "n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens", "tools", "debug"}
    | {"user", "session_id", "trace", "stream_options", "messages", "input", "system", "usage", "max_tool_calls"}
    | {"stop_server_tools_when", "image_config", "modalities", "audio", "inference_geo", "speed"}
    | {"prediction", "prompt_cache_retention"}
)
"""Fields by which a request could choose what answers it, or what that costs: never among `parameters`."""
