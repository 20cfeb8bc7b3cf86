"""Requests to OpenRouter: the models and the provider rules that an application sends with each become a route's."""

from typing import Any

from broker.cli.importing.drafts import Draft, as_name, cap_of

_SUFFIXES = {
    "nitro": ("sort", "throughput"),
    "floor": ("sort", "price"),
}
_PROVIDER = (
    "only",
    "order",
    "ignore",
    "allow_fallbacks",
    "require_parameters",
    "data_collection",
    "zdr",
    "quantizations",
)
_CALLERS = frozenset(
    {
        "model",
        "messages",
        "input",
        "prompt",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
    }
    | {
        "tools",
        "tool_choice",
        "response_format",
        "reasoning",
        "reasoning_effort",
        "n",
        "max_tokens",
        "frequency_penalty",
    }
    | {"max_completion_tokens", "presence_penalty", "parallel_tool_calls", "logprobs", "models", "provider", "system"}
    | {"verbosity", "min_p", "top_a", "repetition_penalty", "metadata", "user", "usage", "max_output_tokens"}
)
_WHY = {
    "plugins": "plugins are OpenRouter's own: the broker turns compression off, and sends none",
    "transforms": "prompts are never cut: send less, or name a model with a longer context",
    "route": "deprecated; a route's targets and 'fallback' say it",
    "preset": "what a preset holds is not in the request: write it into the route",
    "session_id": "the run's id is sent in its place",
    "service_tier": "paid tiers are not priced",
    "web_search_options": "tools that a provider runs are refused: use a tool of the broker",
}


def read(draft: Draft, request: Any, file: str) -> None:
    """Draft the route of one request."""
    named = [name for name in (request.get("model"), *(request.get("models") or ())) if isinstance(name, str)]
    if not named:
        draft.note(file, "no 'model' is in it")
        return
    connector = draft.connector("openrouter")
    provider = _provider(draft, request.get("provider"), file)
    targets = []
    for name in dict.fromkeys(named):
        target = _target(draft, connector, name, provider, file)
        if target is not None:
            targets.append(target)
    for field in request:
        if field not in _CALLERS:
            draft.note(
                f"{file}: {field}", _WHY.get(field, "callers cannot set it; a route may let it through ('parameters')")
            )
    for tool in request.get("tools") or ():
        if isinstance(tool, dict) and str(tool.get("type", "")).startswith("openrouter:"):
            draft.note(f"{file}: tools", f"{tool['type']} is run by OpenRouter: use a tool of the broker")
    if targets:
        caps = [cap_of(request.get(name)) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
        cap = next((cap for cap in caps if cap is not None), None)
        spec = {"targets": targets, **({"max_output_tokens": cap} if cap else {})}
        draft.route(as_name(named[0].partition(":")[0].rpartition("/")[2]), spec)


def _target(draft: Draft, connector: str, name: str, provider: dict[str, Any], file: str) -> dict[str, Any] | None:
    if name.startswith(("@", "~", "openrouter/")) or "@preset/" in name:
        draft.note(
            f"{file}: {name}", "a router, preset or 'latest' alias names no model; name the models that it may choose"
        )
        return None
    model, _, suffix = name.partition(":")
    rules = dict(provider)
    if suffix in _SUFFIXES:
        key, value = _SUFFIXES[suffix]
        rules[key] = value
    elif suffix == "online":
        draft.note(f"{file}: {name}", "web search by the provider is refused: use a tool of the broker")
    elif suffix:
        model = name  # :free, :extended, :thinking are models of their own
    return {"connector": connector, "model": model, **({"provider": rules} if rules else {})}


def _provider(draft: Draft, given: Any, file: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {}
    found = {name: given[name] for name in _PROVIDER if given.get(name) not in (None, [])}
    if isinstance(sort := given.get("sort"), str):
        found["sort"] = sort
    if isinstance(price := given.get("max_price"), dict):
        kinds = ("prompt", "completion", "request", "image")
        found["max_price"] = {kind: float(price[kind]) for kind in kinds if price.get(kind) is not None}
    for name in given:
        if name not in found and given[name] not in (None, []):
            draft.note(f"{file}: provider.{name}", "a route has no word for it")
    if given.get("data_collection") is None:
        draft.note(f"{file}: provider.data_collection", "not set there, so 'allow'; the draft's default is 'deny'")
    return found
