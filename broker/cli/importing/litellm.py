"""LiteLLM's configuration: its model list becomes connectors and routes, its keys agents and policies."""

from typing import Any, get_args

from broker.cli.importing.drafts import Draft, as_name, cap_of
from broker.cli.importing.litellm_prices import is_price, prices_of
from broker.models.document import Effort

_TYPES = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "azure": "azure-openai",
    "openrouter": "openrouter",
    "hosted_vllm": "openai-compatible",
    "vllm": "openai-compatible",
    "ollama": "openai-compatible",
    "ollama_chat": "openai-compatible",
    "lm_studio": "openai-compatible",
}
_KNOWN = frozenset(
    {"model", "api_base", "base_url", "api_key", "api_version", "weight", "max_tokens", "order", "rpm", "tpm"}
    | {"custom_llm_provider", "timeout", "num_retries", "reasoning_effort"}
)
_PERIODS = {"1d": "daily_usd", "24h": "daily_usd", "7d": "weekly_usd", "30d": "monthly_usd", "1mo": "monthly_usd"}
_SETTINGS = {
    "master_key": "operators are users of the machine, named in the Broker document",
    "database_url": "the broker keeps its own store",
    "callbacks": "the trail and OpenTelemetry take their place",
    "cache": "answers are not cached",
    "drop_params": "no parameter is dropped: what is not allowed is refused",
    "guardrails": "the broker has none of these",
}


def read(draft: Draft, value: Any, file: str) -> None:
    """Draft what one file holds: a configuration, or keys."""
    if "keys" in value or "key_alias" in value or "token" in value:
        for key in value.get("keys", [value]):
            _key(draft, key, file)
        return
    if "model_list" not in value:
        draft.note(file, "neither 'model_list' nor 'keys' is in it")
    groups: dict[str, list[dict[str, Any]]] = {}
    for number, entry in enumerate(value.get("model_list") or ()):
        _entry(draft, entry, f"{file}: model_list[{number}]", groups)
    settings = {**(value.get("litellm_settings") or {}), **(value.get("router_settings") or {})}
    follow = _fallbacks(draft, settings, file)
    for name, targets in groups.items():
        more = [target for other in follow.get(name, ()) for target in groups.get(other, ())]
        draft.route(as_name(name), _route(targets, more, settings))
        if as_name(name) != name:
            draft.note(f"{file}: {name}", f"names are in small letters and without '/': the route is {as_name(name)}")
    for part in ("general_settings", "litellm_settings", "router_settings"):
        for setting in value.get(part) or ():
            if setting not in {"fallbacks", "cooldown_time", "allowed_fails", "num_retries", "routing_strategy"}:
                draft.note(f"{file}: {part}.{setting}", _SETTINGS.get(setting, "no document has a word for it"))


def _entry(draft: Draft, entry: Any, place: str, groups: dict[str, list[dict[str, Any]]]) -> None:
    """Add one entry of the model list to the targets of its group."""
    given = entry.get("litellm_params") or {} if isinstance(entry, dict) else {}
    name, model = (entry.get("model_name") if isinstance(entry, dict) else None), given.get("model")
    if not isinstance(name, str) or not isinstance(model, str):
        draft.note(place, "it has no model_name, or no litellm_params.model")
    elif "*" in name:
        draft.note(place, f"{name!r} stands for any model: a route names each")
    elif (place_of := _service(draft, given, model, place)) is not None:
        kind, url, rest = place_of
        target = {"connector": draft.connector(kind, url), "model": rest, **_facts(given)}
        if prices := prices_of(draft, kind, rest, {**given, **(entry.get("model_info") or {})}, place):
            target["prices"] = prices
        groups.setdefault(name, []).append(target)
        _leftovers(draft, given, place)


def _service(draft: Draft, given: dict[str, Any], model: str, place: str) -> tuple[str, str | None, str] | None:
    """Return the type and the address of a model's connector, and what the model is called there."""
    service, _, rest = model.partition("/")
    service = given.get("custom_llm_provider") or (service if rest else "openai")
    kind = _TYPES.get(service)
    if kind is None:
        draft.note(place, f"{service} is no connector's; an OpenAI-compatible endpoint or OpenRouter can stand in")
        return None
    url = given.get("api_base") or given.get("base_url")
    if kind == "openai" and isinstance(url, str):
        kind = "openai-compatible"
    where = _url(draft, url, place)
    if kind == "azure-openai" and where is None:
        draft.note(place, "the resource's address is not in it (api_base): write it into the connector")
        where = "https://resource.openai.azure.com"
    return kind, where, rest or model


def _facts(given: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if isinstance(weight := given.get("weight"), int) and 1 <= weight <= 1000:  # noqa: PLR2004 - as documents have it
        facts["weight"] = weight
    if cap := cap_of(given.get("max_tokens")):
        facts["max_output_tokens"] = cap
    if (effort := given.get("reasoning_effort")) in get_args(Effort):
        facts["reasoning"] = {"effort": effort}
    return facts


def _leftovers(draft: Draft, given: dict[str, Any], place: str) -> None:
    for field in given:
        if field not in _KNOWN and not is_price(field):
            draft.note(f"{place}.{field}", "a route sends no parameters of its own; the caller sets them")
    if given.get("reasoning_effort") is not None and given["reasoning_effort"] not in get_args(Effort):
        draft.note(f"{place}.reasoning_effort", f"a route's 'reasoning.effort' is one of {', '.join(get_args(Effort))}")
    for field in ("rpm", "tpm"):
        if given.get(field) is not None:
            draft.note(f"{place}.{field}", "limits are an agent's: 'models.limits' in its policy")


def _url(draft: Draft, url: Any, place: str) -> str | None:
    if not isinstance(url, str):
        return None
    if url.startswith("os.environ/"):
        draft.note(
            place, f"the address is in the environment ({url.removeprefix('os.environ/')}): write it into the connector"
        )
        return None
    if url.startswith("http://"):
        draft.note(place, f"{url} is plain HTTP: put it behind TLS; the draft says https")
        url = "https://" + url.removeprefix("http://")
    return str(url).rstrip("/")


def _route(targets: list[dict[str, Any]], more: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {"targets": [*targets, *(one for one in more if one not in targets)]}
    if any("weight" in target for target in targets):
        spec["order"] = "weighted"
    cooldown: dict[str, int | float] = {}
    if isinstance(fails := settings.get("allowed_fails"), int) and fails >= 1:
        cooldown["failures"] = fails
    if isinstance(seconds := settings.get("cooldown_time"), int | float) and seconds > 0:
        cooldown["seconds"] = float(seconds)
    return {**spec, **({"cooldown": cooldown} if cooldown else {})}


def _fallbacks(draft: Draft, settings: dict[str, Any], file: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in settings.get("fallbacks") or ():
        for name, others in one.items() if isinstance(one, dict) else ():
            found[str(name)] = [str(other) for other in others]
    for kind in ("context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks"):
        if settings.get(kind):
            draft.note(f"{file}: {kind}", "name context_length or moderation under the route's 'fallback.on'")
    return found


def _key(draft: Draft, key: Any, file: str) -> None:
    """Draft an agent and its policy of a virtual key; the key itself is not taken over."""
    if not isinstance(key, dict):
        draft.note(file, "a key that is only a hash says nothing of itself: export /key/list?return_full_object=true")
        return
    name = str(key.get("key_alias") or key.get("key_name") or key.get("user_id") or "agent")
    models: dict[str, Any] = {"allow": [as_name(model) for model in key.get("models") or ()]}
    if not models["allow"]:
        models["allow"] = sorted(draft.routes)
        draft.note(f"{file}: {name}", "the key may use every model: the draft names those that there are now")
    budget, period = key.get("max_budget"), _PERIODS.get(str(key.get("budget_duration")))
    if isinstance(budget, int | float) and period is not None:
        models["budget"] = {period: budget}
    elif budget is not None:
        draft.note(f"{file}: {name}.max_budget", "a budget is for a day, a week or a month")
    limits = {"requests_per_minute": key.get("rpm_limit"), "tokens_per_minute": key.get("tpm_limit")}
    limits["concurrent"] = key.get("max_parallel_requests")
    if known := {limit: most for limit, most in limits.items() if isinstance(most, int) and most > 0}:
        models["limits"] = known
    team = str(key.get("team_alias") or key.get("team_id") or "imported")
    draft.agent(name, str(key.get("user_id") or "owner@example.com"), team, models)
