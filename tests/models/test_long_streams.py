"""What is output of a stream is its text: what stands around it is neither counted, nor taken for anything else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.errors import StreamTruncated
from broker.models.streams import Broken, watch
from broker.testing.models import ModelService
from tests.support.models import Gateway, asked, events_of, open_gateway
from tests.support.notes import NotesService

DONE = "data: [DONE]\n\n"
ROUTES = """
small: {targets: [{connector: openai, model: m, prices: {input: 1, output: 10}}], max_output_tokens: 32000}
claude: {targets: [{connector: anthropic, model: m, prices: {input: 1, output: 10}}], max_output_tokens: 4096}
"""
HOLD = "{daily_usd: 100}"


@pytest.fixture(scope="module")
def shared(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Serve a gateway whose agent has a budget, and long answers."""
    place: Path = tmp_path_factory.mktemp("long")
    with ModelService(place) as service:
        written = open_gateway(place / "access", notes_service, service, budget=HOLD, routes=ROUTES, allow="['*']")
        with written as gateway:
            yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """Lend it, with a service that behaves."""
    shared.behaves()
    return shared


def chunk(delta: Any, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    """Return an event of a chat completion; `more` stands in its choice."""
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def named(kind: str, **members: Any) -> str:
    """Return an event that says its type twice, as responses and messages do."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n"


def usage(output: int) -> Any:
    """Return the event with a chat's usage."""
    return {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": output, "total_tokens": 9 + output}}


def chatted(pieces: Any) -> tuple[Any, ...]:
    """Return a whole chat's stream of pieces."""
    return (*pieces, chunk({}, "stop"), usage(len(pieces)), DONE)


def with_logprobs(count: int) -> list[Any]:
    """Return pieces of a chat, with the log probabilities of twenty tokens beside each."""
    top = [
        {"token": f"token{n}", "logprob": -7.25, "bytes": [116, 111, 107, 101, 110, 49, 32, 32, 32, 32]}
        for n in range(20)
    ]
    probable = {"content": [{"token": " word", "logprob": -0.1, "bytes": None, "top_logprobs": top}], "refusal": None}
    return [chunk({"content": " word"}, logprobs=probable) for _ in range(count)]


def with_details(count: int) -> list[Any]:
    """Return pieces of reasoning as OpenRouter has them: twice, with a signature."""
    detail = {"type": "reasoning.text", "text": " thought", "format": "anthropic-claude-v1", "signature": "s" * 200}
    return [chunk({"content": "", "reasoning": " thought", "reasoning_details": [detail]}) for _ in range(count)]


def responded(words: int, echo: int) -> tuple[str, ...]:
    """Return a whole stream of a response that echoes its long instructions, at its beginning and its end."""
    response: Any = {"id": "r", "model": "m", "instructions": "i" * echo, "status": "in_progress", "output": []}
    said = {"input_tokens": 9, "output_tokens": words, "total_tokens": 9 + words}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return (
        named("response.created", response=response),
        named("response.in_progress", response=response),
        *(named("response.output_text.delta", delta=" word", **place) for _ in range(words)),
        named("response.output_text.done", text=" word" * words, **place),
        named("response.completed", response={**response, "status": "completed", "usage": said}),
    )


CHAT = ("/v1/chat/completions", asked("small"))
RESPONSES = ("/v1/responses", {"model": "small", "input": "x"})


@pytest.mark.parametrize(
    ("path", "body", "cap", "events"),
    [
        (*CHAT, {"max_tokens": 4096}, chatted(with_logprobs(400))),
        (*CHAT, {"max_tokens": 2000}, chatted(with_details(1800))),
        (*RESPONSES, {"max_output_tokens": 500}, responded(100, 12_000)),
        (*RESPONSES, {"max_output_tokens": 4096}, responded(100, 140_000)),
    ],
    ids=["logprobs", "reasoning twice", "instructions", "tools"],
)
def test_what_stands_around_the_output_is_none(
    gateway: Gateway, path: str, body: Any, cap: Any, events: tuple[Any, ...]
) -> None:
    """Issue 7: a stream is cut where the provider goes on beyond the cap, and nowhere else."""
    gateway.behaves(events=events)

    _, text = gateway.stream(path, {**body, **cap})

    (attempt,) = gateway.finished()["attempts"]
    assert (attempt["status"], attempt["cost_source"]) == ("answered", "usage"), attempt
    assert text.count(" word") + text.count(" thought") >= 100
    assert not gateway.broker.records(kind="budget_overrun")


def test_a_stream_that_is_cut_is_no_overrun_as_nobody_knows_what_it_was(gateway: Gateway) -> None:
    """0103: an overrun is what a provider's own usage says: else what is answered could close a model to everybody."""
    gateway.behaves(events=chatted([chunk({"content": " word"}) for _ in range(300)]))

    _, text = gateway.stream(*CHAT[:1], {**CHAT[1], "max_tokens": 20})

    (attempt,) = gateway.finished()["attempts"]
    assert events_of(text)[-1]["choices"][0]["finish_reason"] == "length"
    assert (attempt["status"], attempt["cost"]) == ("over_cap", attempt["held"])
    assert not gateway.broker.records(kind="budget_overrun")
    gateway.behaves()
    assert gateway.chat("small").status_code == 200


def test_few_long_events_are_cut_too(gateway: Gateway) -> None:
    """A provider that sends a page at a time is bounded as well."""
    gateway.behaves(events=chatted([chunk({"content": "x" * 1000}) for _ in range(30)]))

    _, text = gateway.stream(*CHAT[:1], {**CHAT[1], "max_tokens": 20})

    assert events_of(text)[-1]["choices"][0]["finish_reason"] == "length"


def test_a_long_answer_comes_whole(gateway: Gateway) -> None:
    """An answer of many tokens is megabytes of events: its bound is its cap."""
    gateway.behaves(events=chatted([chunk({"content": " word"}, system_fingerprint="f" * 60)] * 20_000))

    _, text = gateway.stream(CHAT[0], {**CHAT[1], "max_tokens": 32_000})

    assert len(text) > 4 << 20
    assert text.count(" word") == 20_000
    assert text.endswith(DONE)


def followed(api: Any, *found: Any, choices: int = 1) -> Any:
    """Return what has followed these events to their end."""
    following = watch(api, 100, choices, wants_usage=True)
    for one in found:
        following.feed((one if isinstance(one, str) else f"data: {json.dumps(one)}\n\n").encode())
    following.end()
    return following


def test_words_of_the_caller_end_no_response() -> None:
    """What a response echoes is chosen by its caller: it is no end."""
    created = named("response.created", response={"metadata": {"k": "response.completed"}, "status": "in_progress"})

    with pytest.raises(StreamTruncated):
        followed("responses", created, named("response.output_text.delta", delta="x"))


def test_words_of_the_caller_hide_no_end() -> None:
    """And it hides none."""
    events = [event.replace('"model": "m"', '"metadata": {"k": "x.delta"}') for event in responded(3, 10)]

    assert followed("responses", *events).said.usage["output_tokens"] == 3


def test_words_of_the_model_end_no_message() -> None:
    """Nor do those of a model, in Anthropic's API."""
    block = named("content_block_start", index=0, content_block={"type": "text", "text": '"message_delta"'})
    delta = named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})

    assert followed("messages", block, delta, named("message_stop")).tail.count(b"event: message_delta") == 1


def test_the_usage_of_a_messages_beginning_is_not_its_end() -> None:
    """Issue 7: usage is known, or the call costs all that was held."""
    start = named("message_start", message={"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}})
    end = named("message_delta", delta={"stop_reason": "end_turn"}, usage={"cache_read_input_tokens": 0})

    assert followed("messages", start, end, named("message_stop")).said.usage is None


def test_the_usage_of_a_chat_counts_from_its_last_end_on() -> None:
    """Some say at every event what was used until then."""
    running = {**chunk({"content": "a"}), "usage": {"prompt_tokens": 1, "completion_tokens": 1}}

    assert followed("chat", running, chunk({}, "stop"), DONE).said.usage is None
    assert followed("chat", running, chunk({}, "stop"), usage(7), DONE).said.usage["completion_tokens"] == 7
    assert followed("chat", running, {**chunk({}, "stop"), "usage": {"a": 1}}, DONE).said.usage == {"a": 1}


def test_an_answer_that_ends_twice_is_not_two_answers() -> None:
    """Each of `n` answers has an end of its own."""
    with pytest.raises(StreamTruncated):
        followed("chat", chunk({}, "stop"), chunk({}, "stop"), DONE, choices=2)
    assert followed("chat", chunk({}, "stop", 1), chunk({}, "stop", 0), DONE, choices=2).tail


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        ({"code": 502, "message": "x"}, "unavailable"),
        ({"code": 429, "message": "x"}, "rate_limited"),
        ({"code": "429", "message": "x"}, "rate_limited"),
        ({"code": "server_error", "message": "x"}, "unavailable"),
        ({"code": 400, "message": "x"}, "unavailable"),
        ({"code": 10**30}, "unavailable"),
        ({"type": "overloaded_error"}, "overloaded"),
        ("words", "unavailable"),
    ],
    ids=str,
)
def test_an_error_within_a_stream_is_the_providers_and_free_only_where_it_had_not_begun(
    error: Any, trouble: str
) -> None:
    """Whoever answers 200 has taken the request: it costs what was held, but for one that says that it is busy."""
    with pytest.raises(Broken) as at_once:
        followed("chat", {"error": error})
    with pytest.raises(Broken) as later:
        followed("chat", chunk({"content": "a"}), {"error": error})

    assert at_once.value.failure.trouble == trouble
    assert at_once.value.free is (trouble in {"rate_limited", "overloaded"})
    assert not later.value.free


def test_an_error_at_a_streams_beginning_is_followed_by_the_next_target(gateway: Gateway) -> None:
    """It was a 400 of the agent's, and free."""
    gateway.behaves(events=({"error": {"code": 502, "message": "x"}},))

    status, text = gateway.stream(*CHAT)

    (attempt,) = gateway.finished()["attempts"]
    assert (status, json.loads(text)["error"]["code"]) == (503, "model_unavailable")
    assert (attempt["trouble"], attempt["cost"]) == ("unavailable", attempt["held"])


def test_half_a_character_breaks_no_stream() -> None:
    """Some providers cut a text between the halves of a character."""
    halves = [f'data: {{"choices":[{{"delta":{{"content":"\\u{half}"}}}}]}}\n\n' for half in ("d83d", "de00")]

    assert followed("chat", *halves, chunk({}, "stop"), DONE).events == 3


def test_an_event_after_a_comment_is_an_event() -> None:
    """A comment is a line, and its event goes on."""
    assert followed("chat", ": PROCESSING\n" + f"data: {json.dumps(chunk({}, 'stop'))}\n\n").tail.startswith(b"data:")
