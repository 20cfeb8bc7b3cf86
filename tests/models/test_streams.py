"""Streams are whole or say that they are not; what ends one waits for its record."""

import http.client
import json
from contextlib import closing
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from broker.errors import AuditUnavailable
from broker.testing.models import SECRET_WORDS
from tests.support.broker import until
from tests.support.models import Gateway, asked, events_of

CHAT = ("/v1/chat/completions", asked("small"))
RESPONSES = ("/v1/responses", {"model": "small", "input": "How did we do?"})
MESSAGES = ("/v1/messages", {**asked("claude"), "max_tokens": 50})
EVERY = pytest.mark.parametrize(("path", "body"), [CHAT, RESPONSES, MESSAGES], ids=["chat", "responses", "messages"])


def words_of(events: list[Any]) -> str:
    """Return the text that a stream's events say."""
    found = []
    for event in events:
        if "choices" in event:
            found += [choice["delta"].get("content") or "" for choice in event["choices"]]
        elif event.get("type") == "response.output_text.delta":
            found.append(event["delta"])
        elif event.get("type") == "content_block_delta":
            found.append(event["delta"]["text"])
    return "".join(found)


def error_of(events: list[Any]) -> Any:
    """Return the error that a stream ends with."""
    return events[-1]["error"]


@EVERY
def test_a_stream_arrives_as_the_provider_sent_it(gateway: Gateway, path: str, body: Any) -> None:
    """Issue 7: streaming, on every API."""
    status, text = gateway.stream(path, body)

    assert status == 200
    assert words_of(events_of(text)) == "Revenue grew by 4%."
    assert "error" not in {key for event in events_of(text) for key in event if event[key] and key == "error"}
    (attempt,) = gateway.finished()["attempts"]
    assert (attempt["status"], attempt["cost_source"], attempt["usage"]["output"]) == ("answered", "usage", 5)
    assert attempt["cost"] == 11 * 1_000 + 5 * 10_000


@EVERY
def test_a_stream_that_just_stops_ends_in_an_error_of_its_api(gateway: Gateway, path: str, body: Any) -> None:
    """Reference §5.6: SDKs raise nothing at a silent truncation; so the gateway says that it was one."""
    gateway.behaves(stops_after=2)

    status, text = gateway.stream(path, body)

    assert status == 200
    assert words_of(events_of(text)) == "Revenue grew"
    assert error_of(events_of(text))["code"] == "stream_truncated"
    assert "[DONE]" not in text
    assert gateway.finished()["status"] == "failed"


@EVERY
def test_a_connection_that_breaks_in_a_stream_ends_in_an_error(gateway: Gateway, path: str, body: Any) -> None:
    """Streams are whole or say that they are not."""
    gateway.behaves(drops_after=3)

    _, text = gateway.stream(path, body)

    assert error_of(events_of(text))["code"] == "upstream_interrupted"
    assert gateway.finished()["attempts"][0]["cost_source"] == "upper_bound"


@EVERY
def test_a_providers_error_in_a_stream_is_told_without_its_words(gateway: Gateway, path: str, body: Any) -> None:
    """Reference, row 24: a mid-stream error, typed; provider error text never reaches the agent."""
    gateway.behaves(fails_after=2)

    _, text = gateway.stream(path, body)

    assert SECRET_WORDS not in text
    assert error_of(events_of(text))["code"] == "stream_broken"


@pytest.mark.parametrize("asked_for", [True, False])
def test_the_usage_is_always_known_and_told_only_to_those_who_ask(gateway: Gateway, *, asked_for: bool) -> None:
    """Reference, row 27: inject, then hide if unasked."""
    more = {"stream_options": {"include_usage": True}} if asked_for else {}

    _, text = gateway.stream(CHAT[0], {**CHAT[1], **more})

    assert gateway.sent.body["stream_options"] == {"include_usage": True}
    assert ('"choices": []' in text) is asked_for
    assert gateway.finished()["attempts"][0]["cost_source"] == "usage"


@EVERY
def test_a_stream_without_usage_costs_all_that_was_held(gateway: Gateway, path: str, body: Any) -> None:
    """Issue 7: usage is always known or bounded."""
    gateway.behaves(usage=None)

    gateway.stream(path, body)

    (attempt,) = gateway.finished()["attempts"]
    assert attempt["cost_source"] == "upper_bound"
    assert attempt["cost"] == attempt["held"] > 0


def test_what_ends_a_stream_waits_until_the_call_is_on_record(gateway: Gateway) -> None:
    """Issue 7: the last stream event waits for a durable *finished*."""
    durable = gateway.broker.parts.store.commits.durable
    seen: list[int] = []

    async def lost(pending: Any) -> None:
        seen.append(1)
        if len(seen) > 1:  # the end's, not the beginning's
            raise AuditUnavailable
        await durable(pending)

    with patch.object(gateway.broker.parts.store.commits, "durable", lost):
        _, text = gateway.stream(*CHAT)

    assert words_of(events_of(text)) == "Revenue grew by 4%."
    assert error_of(events_of(text))["code"] == "audit_unavailable"
    assert '"finish_reason": "stop"' not in text
    assert "[DONE]" not in text


@pytest.mark.parametrize(("path", "body"), [CHAT, MESSAGES, RESPONSES], ids=["chat", "messages", "responses"])
def test_a_provider_that_goes_on_beyond_the_cap_is_cut(gateway: Gateway, path: str, body: Any) -> None:
    """Reference §5.4.10: stop at the cap even if upstream goes on."""
    gateway.behaves(words=tuple(f" word{number}" for number in range(3000)), ignores_cap=True)

    _, text = gateway.stream(path, {**body, "max_output_tokens" if "input" in body else "max_tokens": 20})

    assert "word100" not in text
    end = events_of(text)[-1]
    if path == CHAT[0]:
        assert end["choices"][0]["finish_reason"] == "length"
        assert text.endswith("data: [DONE]\n\n")
    else:
        assert end["error"]["code"] == "output_over_cap"
    assert gateway.finished()["attempts"][0]["cost_source"] == "upper_bound"


@EVERY
def test_who_leaves_cuts_the_provider_off_and_the_call_is_on_record(gateway: Gateway, path: str, body: Any) -> None:
    """Issue 7: cancelling cancels upstream; a call that was cut after it was sent is `outcome_unknown`."""
    gateway.behaves(holds_after=2)
    gateway.service.left.clear()

    with gateway.post(path, {**body, "stream": True}, stream=True) as response:
        next(response.iter_content(64))

    assert gateway.service.left.wait(60)
    until(lambda: gateway.broker.last_status() == "outcome_unknown")
    (attempt,) = gateway.finished()["attempts"]
    assert (attempt["status"], attempt["cost_source"]) == ("cut", "upper_bound")


def test_who_leaves_before_an_answer_cuts_the_provider_off_too(gateway: Gateway) -> None:
    """A model that thinks for minutes is paid for by the token, whoever waits for it."""
    gateway.behaves(holds_after=0)
    gateway.service.left.clear()
    headers = {"Authorization": f"Bearer {gateway.broker.token()}"}
    with closing(http.client.HTTPConnection(urlsplit(gateway.broker.url).netloc, timeout=60)) as connection:
        connection.request("POST", CHAT[0], json.dumps(CHAT[1]), {**headers, "Content-Type": "application/json"})
        gateway.service.arrived.get(timeout=60)

    assert gateway.service.left.wait(60)
    until(lambda: gateway.broker.last_status() == "outcome_unknown")


def test_while_a_provider_is_silent_the_stream_is_kept_alive(gateway: Gateway) -> None:
    """Reference, row 23: SSE, keep-alive comments; a failure after one is an event of the stream."""
    gateway.behaves(holds_after=2)
    text = ""
    path, body = CHAT
    with (
        patch("broker.doors.models.answering.SILENCE", 0.05),
        gateway.post(path, {**body, "stream": True}, stream=True) as response,
    ):
        for part in response.iter_content(None):
            text += part.decode()
            if ": keep-alive\n\n" in text:  # until then, it says nothing
                gateway.service.free.set()

    assert ": keep-alive\n\n" in text
    assert words_of(events_of(text)) == "Revenue grew by 4%."


def test_an_error_before_the_first_event_is_a_plain_answer(gateway: Gateway) -> None:
    """Reference §1.6: before the first token, JSON and the real status."""
    gateway.behaves(status=500)

    status, text = gateway.stream(*CHAT)

    assert status == 503
    assert '"code":"model_unavailable"' in text


def test_openrouters_comments_and_costs_are_understood(gateway: Gateway) -> None:
    """Issue 7: OpenRouter's own `usage.cost`; its comments stay with us, its generation id is on record."""
    gateway.behaves(openrouter=True, cost=0.000625)

    _, text = gateway.stream(CHAT[0], asked("routed"))

    (attempt,) = gateway.finished()["attempts"]
    assert "OPENROUTER" not in text
    assert (attempt["cost"], attempt["cost_source"], attempt["generation"]) == (625_000, "provider", "gen-1234")
