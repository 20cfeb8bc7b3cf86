"""Services of models: OpenAI, Anthropic, Azure OpenAI, OpenRouter, and whatever speaks OpenAI's API.

They offer no tools: `ModelRoute` documents name their models, and agents call those at the broker's own /v1.
"""

from collections.abc import Sequence
from typing import Any, Literal

from broker.connector import (
    Api,
    ApiKeyDocument,
    Connector,
    ConnectorDocument,
    Endpoints,
    ModelProvider,
    Question,
    Response,
    Session,
    Tool,
    errors,
)

__all__ = ["ANTHROPIC", "AZURE_OPENAI", "OPENAI", "OPENAI_COMPATIBLE", "OPENROUTER"]

_UNAUTHORIZED = 401
_FAILED = 400
_NO_ENDPOINTS = Endpoints("https://token.invalid/")
_BEARER = ApiKeyDocument(prefix="Bearer ")
_ADDRESS = Question("url", "The address of its API", example="https://models.example.com/v1")
_OPENAI_PATHS: dict[Api, str] = {"chat": "/chat/completions", "responses": "/responses", "embeddings": "/embeddings"}
_ANTHROPIC_VERSION = {"anthropic-version": "2023-06-01"}
_EITHER: frozenset[Literal["effort", "budget"]] = frozenset({"effort", "budget"})


def _no_tools(document: ConnectorDocument, _snapshot: Any) -> Sequence[Tool]:
    if document.resources:
        raise ValueError("a service of models has no resources: a ModelRoute document names its models")
    return ()


def _expired(response: Response) -> bool:
    return response.status == _UNAUTHORIZED


def _listing(path: str, headers: dict[str, str]) -> Any:
    """Return the probe that lists a service's models, which costs nothing."""

    async def probe(session: Session, _document: ConnectorDocument) -> str:
        response = await session.send("GET", session.base_url + path, headers, None)
        if response.status >= _FAILED:
            raise errors.UpstreamFailed(detail=f"HTTP {response.status}")
        found = response.json()
        models = found.get("data") if isinstance(found, dict) else None
        return f"{len(models)} models" if isinstance(models, list) else "it answers, and lists no models"

    return probe


OPENAI = Connector(
    name="openai",
    about="OpenAI's models",
    asks=(Question("url", "The address of its API", usual="https://api.openai.com/v1"),),
    hosts=("api.openai.com", "eu.api.openai.com", "us.api.openai.com"),
    endpoints=_NO_ENDPOINTS,
    grant="api-key",
    tools=_no_tools,
    expired=_expired,
    probe=_listing("/models", {}),
    api_key=_BEARER,
    models=ModelProvider(_OPENAI_PATHS, chat_cap="max_completion_tokens", prices="openai", shows_thoughts=False),
)

ANTHROPIC = Connector(
    name="anthropic",
    about="Anthropic's models",
    asks=(Question("url", "The address of its API", usual="https://api.anthropic.com"),),
    hosts=("api.anthropic.com",),
    endpoints=_NO_ENDPOINTS,
    grant="api-key",
    tools=_no_tools,
    expired=_expired,
    probe=_listing("/v1/models", _ANTHROPIC_VERSION),
    api_key=ApiKeyDocument(header="x-api-key"),
    models=ModelProvider({"messages": "/v1/messages"}, _ANTHROPIC_VERSION, prices="anthropic", reasoning=_EITHER),
)

AZURE_OPENAI = Connector(
    name="azure-openai",
    about="OpenAI's models in your own Azure resource",
    asks=(Question("url", "The resource's address", example="https://my-resource.openai.azure.com"),),
    hosts=("*.openai.azure.com", "*.services.ai.azure.com", "login.microsoftonline.com"),
    endpoints=_NO_ENDPOINTS,
    grant="api-key",
    further_grants=("client-credentials",),
    tools=_no_tools,
    expired=_expired,
    probe=_listing("/openai/v1/models", {}),
    api_key=ApiKeyDocument(header="api-key"),
    models=ModelProvider(
        {api: f"/openai/v1{path}" for api, path in _OPENAI_PATHS.items()},
        chat_cap="max_completion_tokens",  # and no list of prices: what a deployment is called, says nothing
        shows_thoughts=False,
    ),
)

OPENAI_COMPATIBLE = Connector(
    name="openai-compatible",
    about="Models behind OpenAI's API: vLLM, Ollama and others",
    asks=(_ADDRESS,),
    hosts=(),
    endpoints=_NO_ENDPOINTS,
    grant="api-key",
    further_grants=("client-credentials",),
    tools=_no_tools,
    expired=_expired,
    probe=_listing("/models", {}),
    api_key=_BEARER,
    models=ModelProvider({"chat": "/chat/completions", "embeddings": "/embeddings", "responses": "/responses"}),
)

OPENROUTER = Connector(
    name="openrouter",
    about="Models of many providers, through OpenRouter",
    asks=(Question("url", "The address of its API", usual="https://openrouter.ai/api/v1"),),
    hosts=("openrouter.ai", "eu.openrouter.ai", "us.openrouter.ai"),
    endpoints=_NO_ENDPOINTS,
    grant="api-key",
    tools=_no_tools,
    expired=_expired,
    probe=_listing("/key", {}),
    api_key=_BEARER,
    models=ModelProvider(
        {**_OPENAI_PATHS, "messages": "/messages"}, prices="openrouter", routes=True, reasoning=_EITHER
    ),
)
