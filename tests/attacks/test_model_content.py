"""An agent that sends a provider what is more than text, under whatever name, or that names what is not its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.testing.models import ModelService
from tests.support.models import Gateway, asked, open_gateway
from tests.support.notes import NotesService

PRICES = "prices: {input: 1, output: 10}"
ROUTES = f"""
small: {{targets: [{{connector: openai, model: m, {PRICES}}}], max_output_tokens: 100}}
claude: {{targets: [{{connector: anthropic, model: m, {PRICES}}}], max_output_tokens: 100}}
seeing: {{targets: [{{connector: openrouter, model: m, {PRICES}}}], media: {{tokens_each: 100}}}}
"""
CHAT, RESPONSES, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"
ADDRESS = "https://inside.example/x"
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.fixture(scope="module")
def shared(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Serve one gateway for all of these."""
    place: Path = tmp_path_factory.mktemp("content")
    with ModelService(place) as service:
        opened = open_gateway(place / "access", notes_service, service, routes=ROUTES, allow="['*']")
        with opened as gateway:
            yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """Lend it, with a service that has seen nothing."""
    shared.behaves()
    shared.service.seen.clear()
    return shared


def chat(*parts: Any, model: str = "small") -> tuple[str, Any]:
    """Return a chat's request with parts of content."""
    return CHAT, {"model": model, "messages": [{"role": "user", "content": list(parts)}]}


def said(**members: Any) -> tuple[str, Any]:
    """Return a chat's request with what an assistant is to have said."""
    message = {"role": "assistant", "content": "x", **members}
    return CHAT, {"model": "small", "messages": [*asked()["messages"], message]}


def responses(*items: Any, model: str = "small") -> tuple[str, Any]:
    """Return a request for a response to items."""
    return RESPONSES, {"model": model, "input": list(items)}


def claude(*blocks: Any, role: str = "user") -> tuple[str, Any]:
    """Return a request for a message to blocks."""
    return MESSAGES, {"model": "claude", "max_tokens": 9, "messages": [{"role": role, "content": list(blocks)}]}


def embedding(given: Any) -> tuple[str, Any]:
    """Return a request for embeddings."""
    return EMBEDDINGS, {"model": "small", "input": given}


TEXT = {"type": "text", "text": "x"}
REFUSED = [
    chat({"type": "audio_url", "audio_url": {"url": ADDRESS}}),
    chat({"type": "image_embeds", "image_embeds": "AAAA"}),
    chat({"type": "input_video", "video": ADDRESS}),
    chat({"image_url": ADDRESS}),
    chat({**TEXT, "image_url": ADDRESS}),
    chat({**TEXT, "uuid": "of-another"}),
    chat({"type": "text", "text": {"image_url": ADDRESS}}),
    chat({"type": []}),
    chat({"type": []}, {"type": "image_url", "image_url": {"url": ADDRESS}}),
    chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
    said(images=[{"type": "image_url", "image_url": {"url": ADDRESS}}]),
    said(annotations=[{"type": "file", "file": {"content": [TEXT]}}]),
    said(audio={"id": "audio_of_another"}),
    said(content=[{"type": "tool_result", "content": [{"type": "image", "source": {}}]}]),
    chat({"type": "file", "file": {"file_data": ADDRESS}}, model="seeing"),
    chat({"type": "file", "file": {"file_data": "x", "file_id": "file-x"}}, model="seeing"),
    chat({"type": "image_url", "image_url": ADDRESS}, model="seeing"),
    chat({"type": "input_audio", "input_audio": {"data": ADDRESS, "format": "wav"}}, model="seeing"),
    chat({"type": "image_url", "image_url": {"url": "data:,x"}, "uuid": "of-another"}, model="seeing"),
    responses({"role": "user", "content": [{"type": "input_file", "file_data": ADDRESS}]}, model="seeing"),
    responses({"role": "user", "content": [{"type": "input_file", "file_url": ADDRESS}]}, model="seeing"),
    responses({"type": "reasoning", "id": "rs_of_another"}),
    responses({"type": "reasoning", "id": "rs_of_another", "summary": [], "encrypted_content": ""}),
    responses({"type": None, "id": "msg_of_another"}),
    responses({"type": "message", "id": "msg_of_another", "role": "assistant"}),
    responses({"type": "function_call", "id": "fc_of_another"}),
    responses({"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}),
    claude({"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}, role="assistant"),
    claude({"type": "document", "source": {"type": "text", "data": "x", "file_id": "file_x"}}),
    embedding([{"content": [{"type": "image_url", "image_url": {"url": ADDRESS}}]}]),
    embedding({"image": ADDRESS}),
    embedding([[TEXT]]),
    (CHAT, {**asked("small"), "reasoning": {"mode": "pro"}}),
    (CHAT, {**asked("seeing"), "reasoning": {"mode": "pro", "effort": "low"}}),
    (CHAT, {**asked("seeing"), "reasoning": {"models": ["other"]}}),
    (CHAT, {**asked("small"), "reasoning": {"max_tokens": 100}}),
    (CHAT, {**asked("small"), "max_tokens": 50, "reasoning": {"max_tokens": 50}}),
    (CHAT, {**asked("small"), "reasoning": {"max_tokens": 1e9}}),
    (RESPONSES, {"model": "small", "input": "x", "reasoning": {"mode": "pro"}}),
    (MESSAGES, {**asked("claude"), "max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": 1e9}}),
    (CHAT, {**asked("small"), "prediction": {"type": "content", "content": "x"}}),
    (RESPONSES, {"model": "small", "input": "x", "prompt_cache_retention": "24h"}),
]


@pytest.mark.parametrize(("path", "body"), REFUSED, ids=[json.dumps(body)[-60:] for _, body in REFUSED])
def test_what_is_not_known_to_be_text_is_refused(gateway: Gateway, path: str, body: Any) -> None:
    """Issue 7: media need a bound, what a provider keeps or fetches is out of reach, and the model is the route's."""
    answer = gateway.post(path, body)

    assert (answer.status_code, answer.json()["error"].get("code")) == (400, "model_field_refused"), answer.text
    assert not gateway.service.seen


THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}], "encrypted_content": "gAAA"}
OUTPUT = {"type": "output_text", "text": "x", "annotations": [], "logprobs": []}
PASSED = [
    chat(TEXT, {"type": "text", "text": "y", "cache_control": {"type": "ephemeral"}}),
    said(refusal=None, annotations=[], audio=None, function_call=None, tool_calls=None),
    said(content=None, tool_calls=[CALL], reasoning="x", reasoning_details=[{"type": "reasoning.text", "text": "x"}]),
    (CHAT, {"model": "small", "messages": [{"role": "tool", "tool_call_id": "call_1", "content": [TEXT]}]}),
    chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}, model="seeing"),
    chat(
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}}, model="seeing"
    ),
    chat({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, model="seeing"),
    responses(
        {"role": "user", "content": "x"},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "function_call_output", "call_id": "c", "output": ""},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [OUTPUT]},
    ),
    claude({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}, "citations": None}),
    claude(
        {"type": "thinking", "thinking": "x", "signature": "s"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"image_url": ADDRESS}, "caller": {"type": "direct"}},
        role="assistant",
    ),
    claude({"type": "tool_result", "tool_use_id": "t", "is_error": False, "content": [TEXT]}),
    claude({"type": "search_result", "title": "x", "source": ADDRESS, "content": [TEXT]}),
    embedding([[1, 2], [3]]),
    embedding(["x", "y"]),
    (CHAT, {**asked("small"), "reasoning": {"effort": "low", "mode": "standard", "exclude": True}}),
    (RESPONSES, {"model": "small", "input": "x", "reasoning": {"effort": "low", "summary": "auto"}}),
    (CHAT, {**asked("small"), "prediction": None, "prompt_cache_retention": None}),
]


@pytest.mark.parametrize(("path", "body"), PASSED, ids=[json.dumps(body)[-60:] for _, body in PASSED])
def test_what_clients_send_of_text_and_bounded_media_passes(gateway: Gateway, path: str, body: Any) -> None:
    """Issue 7: clients run unchanged, also where they send back what was answered."""
    answer = gateway.post(path, body)

    assert answer.status_code == 200, answer.text
    for name in ("messages", "input"):
        assert gateway.sent.body.get(name) == body.get(name)


def test_a_thought_is_sent_without_the_name_that_its_provider_gave_it(gateway: Gateway) -> None:
    """It holds all that it is: its id could only stand for another's."""
    path, body = responses({"role": "user", "content": "x"}, {**THOUGHT, "id": "rs_of_another"})

    assert gateway.post(path, body).status_code == 200
    assert gateway.sent.body["input"] == [{"role": "user", "content": "x"}, THOUGHT]
