# ruff: noqa: PLC0415 - each scenario loads what it is about
"""What an application does with its SDK, unchanged but for base URL and key: `python clients.py SCENARIO URL KEY`.

Runs in a Python of its own that has the SDKs; prints what came as JSON.
"""

import asyncio
import json
import sys
from typing import Any

MESSAGES: Any = [{"role": "user", "content": "How did we do?"}]
TOOL: Any = {"name": "get_revenue", "parameters": {"type": "object", "properties": {}}}


def raised(call: Any) -> dict[str, Any]:
    """Return what a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - that is what is looked at
        return {
            "raises": type(error).__name__,
            "code": getattr(error, "code", None),
            "body": getattr(error, "body", None),
        }
    return {"raises": None}


def openai(url: str, key: str) -> Any:
    """Use the openai package."""
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key=key)
    chat = client.chat.completions
    whole = chat.create(model="small", messages=MESSAGES, max_completion_tokens=50, seed=1)
    tools = chat.create(model="small", messages=MESSAGES, tools=[{"type": "function", "function": TOOL}])
    schema: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    structured = chat.create(model="small", messages=MESSAGES, response_format=schema)
    chunks = list(chat.create(model="small", messages=MESSAGES, stream=True))
    usage: Any = {"include_usage": True}
    with_usage = list(chat.create(model="small", messages=MESSAGES, stream=True, stream_options=usage))
    response = client.responses.create(model="small", input="How did we do?")
    events = list(client.responses.create(model="small", input="How did we do?", stream=True))
    thought = chat.create(model="routed", messages=MESSAGES, reasoning_effort="high", max_completion_tokens=50)
    looked_up = client.get("/generation", cast_to=object, options={"params": {"id": whole._request_id}})
    embedded = client.embeddings.create(model="small", input=["a", "b"])
    return {
        "whole": whole.choices[0].message.content,
        "tools": tools.choices[0].finish_reason,
        "structured": structured.choices[0].message.content,
        "stream": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
        "usage": with_usage[-1].usage.total_tokens if with_usage[-1].usage else None,
        "response": response.output_text,
        "events": [event.type for event in events][-1],
        "embedded": len(embedded.data),
        "thought": thought.choices[0].message.content,
        "looked_up": looked_up,
        "models": [model.id for model in client.models.list()],
        "one": client.models.retrieve("small").id,
        "unknown": raised(lambda: chat.create(model="gpt-5.1", messages=MESSAGES)),
        "refused": raised(lambda: chat.create(model="small", messages=MESSAGES, extra_body={"models": ["x"]})),
        "stranger": raised(client.with_options(api_key="nonsense").models.list),
    }


def openai_poor(url: str, key: str) -> Any:
    """Ask for more than the budget has."""
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key=key)
    return raised(lambda: client.chat.completions.create(model="small", messages=MESSAGES))


def openai_broken(url: str, key: str) -> Any:
    """Read a stream that the provider does not end."""
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
    return {
        "chat": raised(lambda: list(client.chat.completions.create(model="small", messages=MESSAGES, stream=True))),
        "responses": raised(lambda: list(client.responses.create(model="small", input="x", stream=True))),
    }


def anthropic(url: str, key: str) -> Any:
    """Use the anthropic package."""
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key=key)
    whole = client.messages.create(model="claude", max_tokens=50, messages=MESSAGES)
    with client.messages.stream(model="claude", max_tokens=50, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
        usage = stream.get_final_message().usage.output_tokens
    unknown = raised(lambda: client.messages.create(model="claude-opus", max_tokens=5, messages=MESSAGES))
    return {
        "whole": getattr(whole.content[0], "text", None),
        "request": whole._request_id,
        "stream": text,
        "usage": usage,
        "models": [model.id for model in client.models.list()],
        "unknown": unknown["raises"],
    }


def anthropic_poor(url: str, key: str) -> Any:
    """Ask for more than the budget has."""
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key=key)
    return raised(lambda: client.messages.create(model="claude", max_tokens=4000, messages=MESSAGES))["raises"]


def anthropic_broken(url: str, key: str) -> Any:
    """Read a stream that the provider does not end."""
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)

    def read() -> None:
        with client.messages.stream(model="claude", max_tokens=50, messages=MESSAGES) as stream:
            stream.get_final_message()

    return raised(read)["raises"]


def agents(url: str, key: str) -> Any:
    """Use openai-agents."""
    from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(disabled=True)
    client = AsyncOpenAI(base_url=url + "/v1", api_key=key)
    kinds: Any = (OpenAIChatCompletionsModel, OpenAIResponsesModel)

    async def run() -> list[Any]:
        found = []
        for kind in kinds:
            agent = Agent(name="analyst", instructions="Answer.", model=kind(model="small", openai_client=client))
            found.append((await Runner.run(agent, "How did we do?")).final_output)
        return found

    return asyncio.run(run())


def langchain(url: str, key: str) -> Any:
    """Use langchain-openai and langchain-anthropic."""
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    more: Any = {"api_key": key}
    chat = ChatOpenAI(model="small", base_url=url + "/v1", **more)
    claude: Any = ChatAnthropic(model_name="claude", base_url=url, max_tokens=50, **more)
    embeddings = OpenAIEmbeddings(model="small", base_url=url + "/v1", check_embedding_ctx_length=False, **more)
    return {
        "openai": chat.invoke("How did we do?").content,
        "stream": "".join(str(chunk.content) for chunk in chat.stream("How did we do?")),
        "anthropic": claude.invoke("How did we do?").content,
        "embedded": len(embeddings.embed_documents(["a", "b"])),
    }


if __name__ == "__main__":
    scenario, where, secret = sys.argv[1:]
    sys.stdout.write(json.dumps(globals()[scenario](where, secret), default=str))
