"""Which fields of a request agents may set, on each API. What is not named here reaches no provider."""

from broker.connector import Api

_SAMPLING = {"temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs"}
_OPEN = {"top_k", "min_p", "top_a", "repetition_penalty"}  # of open models, on chat completions
_TOOLS = {"tools", "tool_choice", "parallel_tool_calls"}
_CACHE = {"prompt_cache_key", "prompt_cache_retention"}
_WHO = {"user", "safety_identifier", "metadata"}

ALLOWED: dict[Api, frozenset[str]] = {
    "chat": frozenset(
        {"model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "stop"}
        | {"top_logprobs", "response_format", "functions", "function_call", "reasoning_effort", "reasoning"}
        | {"prediction", "modalities", "store", "service_tier", "include_reasoning", "cache_control", "verbosity"}
        | _SAMPLING | _OPEN | _TOOLS | _CACHE | _WHO
    ),
    "responses": frozenset(
        {"model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "text", "reasoning"}
        | {"truncation", "include", "store", "background", "service_tier", "top_logprobs", "temperature", "top_p"}
        | {"previous_response_id", "conversation"}
        | _TOOLS | _CACHE | _WHO
    ),
    "messages": frozenset(
        {"model", "messages", "system", "max_tokens", "stream", "stop_sequences", "temperature", "top_p", "top_k"}
        | {"tools", "tool_choice", "thinking", "metadata", "cache_control", "output_config", "output_format"}
        | {"service_tier"}
    ),
    "embeddings": frozenset({"model", "input", "dimensions", "encoding_format", "user"}),
}  # fmt: skip

INERT: dict[str, tuple[object, ...]] = {
    "store": (False, None),
    "background": (False, None),
    "previous_response_id": (None,),
    "conversation": (None,),
    "service_tier": (None, "auto", "default", "standard_only"),
    "modalities": (None, ["text"]),
    "prediction": (None,),
    "prompt_cache_retention": (None, "in_memory", "in-memory"),
    "truncation": (None, "disabled"),
}
"""Fields that may stand in a request as long as they ask for nothing: SDKs send them. They are taken off it."""

WHY = {
    "store": "what a provider keeps would be open to everybody who shares its account",
    "background": "a call ends before its agent leaves, or it is cut",
    "previous_response_id": "what a provider keeps is bound to no agent: send the whole conversation",
    "conversation": "what a provider keeps is bound to no agent: send the whole conversation",
    "service_tier": "the route decides which tier is paid",
    "modalities": "only text is priced",
    "prediction": "what of it is not used is paid like output, beyond the cap",
    "prompt_cache_retention": "the route decides how long a provider keeps a prompt, and at which price",
    "truncation": "what a provider leaves out of a prompt nobody would know",
}
