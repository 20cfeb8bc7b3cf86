"""An agent that tries to be answered by something else than its policy says, or by more than it may have."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.testing.models import KEY, SECRET_WORDS, Behaviour, ModelService
from tests.support.models import Gateway, asked, events_of, open_gateway
from tests.support.notes import NotesService

MESSAGE = [{"role": "user", "content": "x"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.fixture(scope="module")
def shared(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Serve one gateway for all of these."""
    place: Path = tmp_path_factory.mktemp("models")
    with ModelService(place) as service, open_gateway(place / "access", notes_service, service) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """Lend it, with a service that behaves and has seen nothing."""
    shared.behaves()
    shared.service.seen.clear()
    return shared


@pytest.mark.parametrize(
    "field",
    [
        {"models": ["openai/gpt-5.1"]},
        {"provider": {"only": ["cheap"], "data_collection": "allow"}},
        {"plugins": [{"id": "web"}]},
        {"preset": "mine"},
        {"route": "fallback"},
        {"transforms": ["middle-out"]},
        {"fallbacks": [{"model": "other"}]},
        {"web_search_options": {}},
        {"service_tier": "priority"},
        {"store": True},
        {"n": 2},
        {"modalities": ["text", "audio"]},
        {"debug": {"echo_upstream_body": True}},
        {"max_tool_calls": 30},
        {"session_id": "another's"},
        {"trace": {}},
        {"tools": [{"type": "openrouter:web_search"}]},
        {"tools": [{"type": "web_search_preview"}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "code_interpreter"}]},
        {"a_field_that_nobody_knows_yet": 1},
        {"\u006dodels": ["written as an escape"]},
    ],
    ids=lambda field: next(iter(field)),
)
def test_what_chooses_who_answers_is_refused(gateway: Gateway, field: dict[str, Any]) -> None:
    """Issue 7: the caller cannot route around policy."""
    answer = gateway.chat("routed", **field)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_field_refused")
    assert not gateway.service.seen


@pytest.mark.parametrize("name", ["routed:online", "routed:nitro", "@preset/mine", "routed@preset/x", "~vendor/latest"])
def test_a_suffix_or_preset_makes_no_name_of_a_route(gateway: Gateway, name: str) -> None:
    """Reference, row 19: suffixes are refused from clients."""
    assert gateway.chat(name).json()["error"]["code"] == "unknown_model"
    assert not gateway.service.seen


@pytest.mark.parametrize(
    "field",
    [
        {"previous_response_id": "resp_of_another"},
        {"conversation": "conv_1"},
        {"store": True},
        {"background": True},
        {"prompt": {"id": "pmpt_1"}},
        {"input": [{"type": "item_reference", "id": "msg_of_another"}]},
        {"input": [{"id": "msg_of_another"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-of-another"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_im\\u0061ge", "file_id": "file-x"}]}]},
        {"tools": [{"type": "mcp", "server_url": "https://evil.example"}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_of_another"]}]},
        {"truncation": "auto"},
    ],
    ids=json.dumps,
)
def test_what_a_provider_keeps_is_out_of_reach(gateway: Gateway, field: dict[str, Any]) -> None:
    """Issue 7: state that providers keep is bound to the agent or refused."""
    body = json.dumps({"model": "small", "input": "x", **field}).replace("\\\\u0061", "\\u0061")

    answer = gateway.post("/v1/responses", None, data=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_field_refused")
    assert not gateway.service.seen


def test_sdks_may_send_what_asks_for_nothing_and_the_provider_is_told_to_keep_nothing(gateway: Gateway) -> None:
    """`store: false` is what the route wants; it stands in every request for a response."""
    body = {"model": "small", "input": "x", "store": False, "background": None, "previous_response_id": None}

    assert gateway.post("/v1/responses", body).status_code == 200
    assert gateway.sent.body["store"] is False


@pytest.mark.parametrize(
    "field",
    [
        {"mcp_servers": [{"url": "https://evil.example"}]},
        {"container": "container_of_another"},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "code_execution_20250522", "name": "code_execution"}]},
        {"service_tier": "priority"},
        {"thinking": {"type": "enabled", "budget_tokens": 100_000}},
        {"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "file_x"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "x"}}]}]},
    ],
    ids=json.dumps,
)
def test_anthropics_side_doors_are_closed_too(gateway: Gateway, field: dict[str, Any]) -> None:
    """Issue 7: server tools, remote servers and files are refused."""
    answer = gateway.post("/v1/messages", {"model": "claude", "max_tokens": 10, "messages": MESSAGE, **field})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_field_refused")
    assert not gateway.service.seen


@pytest.mark.parametrize("letter", ["i", "\\u0069"])
def test_an_image_without_a_bound_is_refused_however_it_is_written(gateway: Gateway, letter: str) -> None:
    """Reference §5.2: images need a bound; an escape is no way past the search for them."""
    content = json.dumps([{"role": "user", "content": [IMAGE]}]).replace("image_url", f"{letter}mage_url")

    answer = gateway.post("/v1/chat/completions", None, data=f'{{"model":"small","messages":{content}}}')

    assert answer.json()["error"]["code"] == "model_field_refused"
    assert not gateway.service.seen


def test_of_a_field_that_stands_twice_one_counts_for_everybody(gateway: Gateway) -> None:
    """A request that two parsers read differently is a request that nobody has checked."""
    body = '{"model":"secret","model":"small","max_tokens":99999,"max_tokens":5,"messages":[]}'

    assert gateway.post("/v1/chat/completions", None, data=body).status_code == 200
    assert gateway.sent.text.count(b'"model"') == 1
    assert gateway.sent.body["max_completion_tokens"] == 5


def test_headers_of_the_caller_go_nowhere(gateway: Gateway) -> None:
    """Provider keys, organisations and betas are the route's to choose."""
    headers = {
        "OpenAI-Organization": "org-of-another",
        "X-OpenRouter-Cache": "true",
        "anthropic-beta": "context-1m-2025-08-07",
        "Cookie": "session=1",
        "Host-Override": "x",
    }

    gateway.post("/v1/messages", {"model": "claude", "max_tokens": 10, "messages": MESSAGE}, headers)

    assert not {name.lower() for name in headers} & gateway.sent.headers.keys()


def test_a_provider_that_echoes_its_key_is_not_passed_on(gateway: Gateway) -> None:
    """Issue 7: provider keys never reach the agent."""
    gateway.behaves(words=("The key is ", KEY))
    whole = gateway.chat("small")
    status, streamed = gateway.stream("/v1/chat/completions", asked())

    assert whole.json()["error"]["code"] == "leak_blocked"
    assert KEY not in whole.text
    assert KEY not in streamed
    assert status != 200 or events_of(streamed)[-1]["error"]["code"] == "leak_blocked"


def test_a_key_that_comes_a_few_bytes_at_a_time_is_not_passed_on(gateway: Gateway) -> None:
    """Issue 5, leaks: chunk boundaries; no eight bytes in a row reach the agent."""
    gateway.behaves(words=("The key is ", KEY), piece=5)

    _, streamed = gateway.stream("/v1/chat/completions", asked())

    assert "The key is" in streamed
    assert not [at for at in range(len(KEY) - 7) if KEY[at : at + 8] in streamed]
    assert events_of(streamed)[-1]["error"]["code"] == "leak_blocked"


def test_what_a_provider_calls_its_answer_is_an_id_or_is_not_kept(gateway: Gateway) -> None:
    """Issue 7: provider text never reaches the trail; nor does its key."""
    for said in (KEY, "words of a provider", "x" * 500):
        gateway.behaves(headers={"X-Generation-Id": said})

        assert gateway.chat("small").status_code == 200
        assert said not in json.dumps(gateway.broker.records())


def test_no_word_of_a_provider_reaches_an_agent_or_the_trail(gateway: Gateway) -> None:
    """Issue 7: provider error text never reaches the agent."""
    for status in (400, 401, 402, 403, 404, 429, 500, 503):
        gateway.behaves(status=status)
        assert SECRET_WORDS not in gateway.chat("small").text
    gateway.behaves(Behaviour(fails_after=1))
    gateway.stream("/v1/chat/completions", asked())

    assert SECRET_WORDS not in json.dumps(gateway.broker.records())


@pytest.mark.parametrize("body", ["", "[]", "null", '"x"', "{", '{"model": 1}', '{"model": null}', "\xff", "{" * 5000])
def test_what_is_no_request_is_told_so(gateway: Gateway, body: str) -> None:
    """Bad input gets a clear error, and nothing else happens."""
    answer = gateway.post("/v1/chat/completions", None, data=body.encode("latin-1"))

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_request_invalid")


def test_a_request_that_is_too_large_is_not_read_to_its_end(gateway: Gateway) -> None:
    """caps.request_bytes."""
    answer = gateway.post("/v1/chat/completions", None, data=b'{"model":"small","messages":"' + b"x" * (2 << 20))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "arguments_too_large")


def test_two_different_keys_are_none(gateway: Gateway) -> None:
    """A proof that fails is never replaced by another."""
    headers = {"x-api-key": "aamk_abcdefghijkl_" + "A" * 43}

    assert gateway.chat("small", headers=headers).json()["error"]["code"] == "proof_malformed"
