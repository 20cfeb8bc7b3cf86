"""An agent looks up what became of its own calls, as at OpenRouter's `/generation`; nobody else's."""

import contextlib
from typing import Any

import pytest
import requests

from broker.testing.models import Behaviour
from tests.support.broker import until
from tests.support.documents import OTHER
from tests.support.models import Gateway, asked

IDS = ("x-aam-call-id", "x-request-id", "request-id", "x-generation-id")
RUN = "0af7651916cd43dd8448eb211c80319c"


def generation(gateway: Gateway, call_id: str) -> dict[str, Any]:
    """Look up a call as the analyst."""
    answer = gateway.get(f"/v1/generation?id={call_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


@pytest.mark.parametrize("header", IDS)
def test_every_apis_request_id_leads_to_the_call(gateway: Gateway, header: str) -> None:
    """Reference, row 29: the id that each SDK shows finds the call, with its cost and tokens."""
    gateway.behaves(usage={"input": 11, "output": 5, "cached": 4, "reasoning": 3})
    answer = gateway.chat("small", headers={"traceparent": f"00-{RUN}-b7ad6b7169203331-01"})

    found = generation(gateway, answer.headers[header])

    assert found["id"] == answer.headers["x-aam-call-id"]
    assert (found["model"], found["finish_reason"], found["api_type"]) == ("small", "stop", "completions")
    assert (found["tokens_prompt"], found["tokens_completion"]) == (11, 5)
    assert (found["native_tokens_cached"], found["native_tokens_reasoning"]) == (4, 3)
    assert (found["total_cost"], found["cost_usd"]) == (0.0000574, "0.0000574")
    assert (found["streamed"], found["cancelled"], found["session_id"]) == (False, False, RUN)
    assert (found["outcome"], found["code"], found["cost_sources"]) == ("released", None, ["usage"])
    assert found["latency"] >= found["generation_time"] >= 0


def test_a_stream_names_its_call_before_its_first_event(gateway: Gateway) -> None:
    """A stream's cost is in no header: its id is, and leads there."""
    with gateway.post("/v1/messages", {**asked("claude"), "max_tokens": 20, "stream": True}, stream=True) as answer:
        call_id = answer.headers["request-id"]
        _ = answer.content

    found = generation(gateway, call_id)

    assert (found["streamed"], found["api_type"], found["finish_reason"]) == (True, "messages", "end_turn")
    assert found["total_cost"] > 0


def test_a_refusal_names_its_call_too(gateway: Gateway) -> None:
    """What went wrong can be looked up as well as what did not."""
    gateway.behaves(Behaviour(status=500))

    refused = gateway.chat("small")
    found = generation(gateway, refused.headers["x-request-id"])

    assert refused.status_code == 503
    assert (found["outcome"], found["code"], found["cost_sources"]) == ("failed", "model_unavailable", ["upper_bound"])
    assert not found["cancelled"]


def test_a_call_that_was_left_is_cancelled(gateway: Gateway) -> None:
    """Who leaves finds out what it cost."""
    gateway.behaves(holds_after=2)
    with gateway.post("/v1/chat/completions", {**asked(), "stream": True}, stream=True) as answer:
        call_id = answer.headers["x-request-id"]
        next(answer.iter_lines())

    def ended() -> bool:
        return bool(gateway.get(f"/v1/generation?id={call_id}").status_code == 200)

    until(ended)
    found = generation(gateway, call_id)
    assert (found["cancelled"], found["streamed"], found["cost_sources"]) == (True, True, ["upper_bound"])


def test_of_anothers_call_an_agent_learns_no_more_than_of_none(gateway: Gateway) -> None:
    """Its own calls only: another's is not found, in the same words as what never was."""
    call_id = gateway.chat("small").headers["x-request-id"]
    other = {"Authorization": f"Bearer {gateway.broker.token(OTHER)}"}
    url = f"{gateway.broker.url}/v1/generation"

    theirs = requests.get(url, params={"id": call_id}, headers=other, timeout=60)
    none = requests.get(url, params={"id": "gen-none"}, headers=other, timeout=60)

    assert (theirs.status_code, theirs.json()["error"]["code"]) == (404, "unknown_generation")
    assert theirs.json() == none.json()
    assert theirs.headers.keys() == none.headers.keys()


@pytest.mark.parametrize("query", ["", "?id=", "?id=a&id=b", "?call=x"])
def test_which_call_is_meant_is_said_once(gateway: Gateway, query: str) -> None:
    """Bad input gets a clear error that names the field."""
    answer = gateway.get(f"/v1/generation{query}")

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "id")


@pytest.mark.parametrize("call_id", ["x" * 5000, "%00", "'; DROP TABLE records", "%F0%9F%98%80", "%ff"])
def test_what_is_no_id_is_of_no_call(gateway: Gateway, call_id: str) -> None:
    """Whatever stands there is looked for, and not found."""
    answer = gateway.get(f"/v1/generation?id={call_id}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_generation")


def test_nobody_looks_without_a_proof_and_looking_leaves_no_record(gateway: Gateway) -> None:
    """Identity as for every call; a look at one's own is, as a list is, no trail record."""
    call_id = gateway.chat("small").headers["x-request-id"]
    before = len(gateway.broker.records())

    generation(gateway, call_id)

    assert len(gateway.broker.records()) == before
    with contextlib.closing(requests.Session()) as nobody:
        assert nobody.get(f"{gateway.broker.url}/v1/generation?id={call_id}", timeout=60).status_code == 401


def test_which_provider_answered_is_not_told(gateway: Gateway) -> None:
    """Agents know routes: what stands behind one is not theirs to learn here."""
    gateway.behaves(openrouter=True)
    call_id = gateway.chat("routed").headers["x-request-id"]

    answer = gateway.get(f"/v1/generation?id={call_id}")

    assert answer.json()["data"]["provider_name"] is None
    assert not [word for word in ("vendor", "Somewhere", "openrouter", "gen-1234") if word in answer.text]
