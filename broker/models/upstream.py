"""What is sent to a provider: the caller's own bytes, with the model, the cap and the route's rules in their places."""

from collections.abc import Mapping
from typing import Any

import msgspec

from broker.connector import Api
from broker.models.document import PricesPart, ProviderPart, TierPart
from broker.models.route import Route, Target
from broker.models.wanted import Wanted

_NO_COMPRESSION = [{"id": "context-compression", "enabled": False}]  # else the middle of a prompt may be left out
_METADATA = {"X-OpenRouter-Metadata": "enabled"}
_SAYS_NOTHING: Mapping[str, Any] = {}


def body_of(
    wanted: Wanted, target: Target, cap: int, who: str, run: str | None, reasoning: Mapping[str, Any] = _SAYS_NOTHING
) -> bytes:
    """Return the request for one target. `who` is a keyed digest of the agent, which tells a provider nobody's name.

    `reasoning` are the members that say how much to think (`written_for`).
    """
    ours: dict[str, Any] = {"model": target.model, **reasoning}
    if wanted.stream:
        ours["stream"] = True
        if wanted.api == "chat":
            ours["stream_options"] = {"include_usage": True}
    if (name := cap_field(wanted.api, target)) is not None:
        ours[name] = cap
    if wanted.api == "responses":
        ours["store"] = False
    if target.provider.routes:
        ours |= _routing(wanted.api, target, who, run)
    members = [msgspec.json.encode(name) + b":" + raw for name, raw in wanted.fields.items() if name not in ours]
    members += [msgspec.json.encode(name) + b":" + msgspec.json.encode(value) for name, value in ours.items()]
    return b"{" + b",".join(members) + b"}"


def cap_field(api: Api, target: Target) -> str | None:
    """Return the field by which a target bounds its output on an API."""
    names = {"chat": target.provider.chat_cap, "responses": "max_output_tokens", "messages": "max_tokens"}
    return names.get(api)


def headers_of(api: Api, target: Target, route: Route, betas: str | None) -> Mapping[str, str]:
    """Return the headers for one target: none of the caller's but betas that its route lets through."""
    headers = {"Content-Type": "application/json", **target.provider.headers}
    if api == "messages" and betas:
        wanted = [beta.strip() for beta in betas.split(",")]
        if kept := [beta for beta in wanted if beta in route.document.betas]:
            headers["anthropic-beta"] = ",".join(kept)
    if target.provider.routes:
        headers |= _METADATA
    return headers


def _routing(api: Api, target: Target, who: str, run: str | None) -> dict[str, Any]:
    """Return what tells OpenRouter how to choose among providers, and that it leaves nothing out of the prompt."""
    part = target.part.provider or ProviderPart()
    provider = part.model_dump(exclude_none=True, exclude_defaults=True)
    provider |= {
        "require_parameters": part.require_parameters,
        "data_collection": part.data_collection,
        "allow_fallbacks": part.allow_fallbacks,
    }
    if part.max_price is None and target.part.prices is not None:
        provider["max_price"] = _most(target.part.prices)
    if api == "embeddings":
        return {"provider": provider, "user": who}
    return {"provider": provider, "plugins": _NO_COMPRESSION, "user": who, **({"session_id": run} if run else {})}


def _most(prices: PricesPart) -> dict[str, float]:
    """Return the highest prices that a call is held for: OpenRouter must find a provider that charges no more."""
    tiers: list[PricesPart | TierPart] = [prices, *prices.tiers]
    inputs = [one for tier in tiers for one in (tier.input, tier.cache_write, tier.cache_write_1h) if one is not None]
    outputs = [one for tier in tiers for one in (tier.output, tier.reasoning) if one is not None]
    made = {"completion": max(outputs)} if outputs else {}
    return {"prompt": max(inputs), **made, "request": prices.request}
