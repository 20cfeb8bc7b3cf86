"""A model call is a call: who, which policy, which credential, what it cost, and an answer as the provider gave it."""

import json

import pytest

from broker.testing.models import KEY, SECRET_WORDS
from tests.support.documents import OTHER
from tests.support.models import Gateway, asked, models_policy

RUN = "0af7651916cd43dd8448eb211c80319c"


def test_a_model_answers_through_the_broker_with_the_brokers_key(gateway: Gateway) -> None:
    """Issue 7: point an SDK at the broker, an SVID as the API key."""
    answer = gateway.chat("small", temperature=0.5)

    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "Revenue grew by 4%."
    assert gateway.sent.headers["authorization"] == f"Bearer {KEY}"
    assert gateway.sent.body == {
        **asked("gpt-small"), "temperature": 0.5, "max_completion_tokens": 100
    }  # fmt: skip


def test_the_callers_bytes_reach_the_provider_as_they_are(gateway: Gateway) -> None:
    """Issue 7: same-skin passthrough: nothing but the model and the cap is written anew."""
    odd = '[{"role" :"user","content":"\\u00e9 1.0e2"}]'

    answer = gateway.post("/v1/chat/completions", None, data=f'{{"model":"small","messages":{odd},"seed":1.0}}')

    assert answer.status_code == 200
    assert f'"messages":{odd},"seed":1.0' in gateway.sent.text.decode()


def test_a_model_call_is_on_record_like_a_tools_with_its_attempts_and_its_run(gateway: Gateway) -> None:
    """Issue 7: identify, decide, hold, open, execute, release, record as for tools."""
    answer = gateway.chat("small", headers={"traceparent": f"00-{RUN}-b7ad6b7169203331-01"})

    story = gateway.broker.story(answer.headers["x-aam-call-id"])
    (attempt,) = story["finished"]["outcome"]["attempts"]
    assert (story["requested"]["action"]["resource"], story["requested"]["run_id"]) == ("models.small", RUN)
    assert story["decided"]["policy"]["rules"][0]["place"] == "models.allow[0]"
    assert story["finished"]["credential"]["kind"] == "api-key"
    assert story["finished"]["outcome"]["status"] == "released"
    assert (attempt["target"], attempt["status"], attempt["finish"]) == ("openai/gpt-small", "answered", "stop")
    assert attempt["usage"]["input"] == 11
    assert attempt["cost"] == 11 * 1_000 + 5 * 10_000  # nano-dollars: $1 and $10 a million tokens


def test_what_a_call_costs_stands_in_the_answer(gateway: Gateway) -> None:
    """Reference, row 28: the cost in the response."""
    assert gateway.chat("small").headers["x-aam-cost-usd"] == "0.000061000"


@pytest.mark.parametrize("model", ["secret", "gpt-small", "nothing", "openai/gpt-small"])
def test_a_model_that_no_policy_names_is_unknown(gateway: Gateway, model: str) -> None:
    """architecture.md, names and answers: what its policies do not mention does not exist for an agent."""
    before = len(gateway.service.seen)

    answer = gateway.chat(model)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")
    assert len(gateway.service.seen) == before


def test_an_agent_without_models_may_use_none(gateway: Gateway) -> None:
    """architecture.md: absent means less."""
    token = gateway.broker.token(OTHER)

    answer = gateway.chat("small", headers={"Authorization": f"Bearer {token}"})

    assert answer.json()["error"]["code"] == "unknown_model"


@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
def test_the_proof_is_the_api_key_as_each_client_sends_it(gateway: Gateway, header: str) -> None:
    """Issue 7: an SVID or a virtual key as the API key."""
    key = gateway.broker.token()
    headers = {"Authorization": None, header: f"Bearer {key}" if header == "Authorization" else key}

    answer = gateway.post("/v1/messages", {**asked("claude"), "max_tokens": 50}, headers)

    assert answer.status_code == 200
    assert gateway.sent.headers["x-api-key"] == KEY
    assert gateway.sent.headers["anthropic-version"] == "2023-06-01"


def test_without_a_proof_the_answer_is_a_401_in_the_apis_own_shape(gateway: Gateway) -> None:
    """Issue 7: errors follow each API's own shape."""
    openai = gateway.chat("small", headers={"Authorization": "Bearer nonsense"})
    anthropic = gateway.post("/v1/messages", asked("claude"), {"Authorization": None})

    assert (openai.status_code, openai.json()["error"]["type"]) == (401, "authentication_error")
    assert (anthropic.status_code, anthropic.json()["type"]) == (401, "error")
    assert anthropic.json()["error"]["type"] == "authentication_error"


def test_a_provider_is_asked_for_no_more_than_the_cap_whatever_a_caller_wants(gateway: Gateway) -> None:
    """Reference §5.3: the cap is written into the upstream request, in the field that the provider honours."""
    gateway.chat("small", max_tokens=1_000_000)
    openai = gateway.sent.body
    gateway.chat("unpriced", max_tokens=7)
    compatible = gateway.sent.body
    gateway.post("/v1/responses", {"model": "small", "input": "Hello", "max_output_tokens": 40})
    responses = gateway.sent.body

    assert (openai.get("max_tokens"), openai["max_completion_tokens"]) == (None, 100)
    assert (compatible["max_tokens"], compatible.get("max_completion_tokens")) == (7, None)
    assert (responses["max_output_tokens"], responses["store"]) == (40, False)


def test_embeddings_and_responses_answer_too(gateway: Gateway) -> None:
    """Issue 7: /v1/responses, /v1/embeddings."""
    embedded = gateway.post("/v1/embeddings", {"model": "small", "input": ["a", "b"]})
    response = gateway.post("/v1/responses", {"model": "azure", "input": "Hello"})

    assert len(embedded.json()["data"]) == 2
    assert response.json()["output"][0]["content"][0]["text"] == "Revenue grew by 4%."
    assert gateway.sent.path == "/azure/openai/v1/responses"
    assert gateway.sent.headers["api-key"] == KEY


def test_a_model_answers_on_its_own_apis_alone(gateway: Gateway) -> None:
    """A route whose targets do not speak an API says which they do."""
    answer = gateway.chat("claude")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_api_refused")
    assert "messages" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/completions", "/v1/files", "/v1/messages/batches"])
def test_an_api_that_is_not_served_says_so_in_the_callers_shape(gateway: Gateway, path: str) -> None:
    """Reference, row 70: no native passthrough: what is not governed is not there."""
    before = len(gateway.service.seen)

    answer = gateway.post(path, asked())

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_api")
    assert len(gateway.service.seen) == before


def test_the_models_that_may_be_used_are_listed_with_prices_and_limits(gateway: Gateway) -> None:
    """Reference, row 5: /v1/models, filtered by the caller's policy."""
    listed = gateway.get("/v1/models").json()["data"]
    one = gateway.get("/v1/models/small").json()

    assert [model["id"] for model in listed] == ["azure", "claude", "routed", "small", "twice", "unpriced"]
    assert one["pricing"]["input"] == 1.0
    assert one["max_output_tokens"] == 100
    assert gateway.get("/v1/models/secret").status_code == 404
    assert gateway.get("/v1/models", **{"anthropic-version": "2023-06-01"}).json()["data"][0]["type"] == "model"


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (400, 400, "model_request_rejected"),
        (401, 503, "model_unavailable"),
        (402, 503, "model_unavailable"),
        (403, 503, "model_unavailable"),
        (413, 400, "context_length_exceeded"),
        (429, 429, "upstream_busy"),
        (500, 503, "model_unavailable"),
        (529, 503, "model_unavailable"),
    ],
)
def test_a_providers_error_becomes_ours_and_its_words_stay_there(
    gateway: Gateway, status: int, expected: int, code: str
) -> None:
    """Reference §7: a provider's 402 is our route unhealthy, never the agent's budget; its words reach no agent."""
    gateway.behaves(status=status, headers={"Retry-After": "7"})

    answer = gateway.chat("small")

    assert (answer.status_code, answer.json()["error"]["code"]) == (expected, code)
    assert SECRET_WORDS not in answer.text
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert gateway.finished()["attempts"][0]["status"] == "failed"


def test_a_prompt_that_is_too_long_says_so(gateway: Gateway) -> None:
    """Reference §1.9: the vocabulary of errors is kept."""
    gateway.behaves(status=400, error={"error": {"code": "context_length_exceeded", "message": SECRET_WORDS}})

    assert gateway.chat("small").json()["error"]["code"] == "context_length_exceeded"


def test_content_is_recorded_only_where_a_policy_says_so_and_then_sealed(own_gateway: Gateway) -> None:
    """Issue 7: content is not recorded unless a policy says so, then encrypted."""
    plain = own_gateway.chat("small").headers["x-aam-call-id"]
    own_gateway.put("models-policy.yaml", models_policy(record="arguments, result"))
    sealed = own_gateway.chat("small").headers["x-aam-call-id"]

    assert "sealed" not in json.dumps(own_gateway.broker.story(plain))
    assert "How did we do" not in json.dumps(own_gateway.broker.records())
    story = own_gateway.broker.story(sealed)
    assert [one["field"] for one in story["requested"]["action"]["sealed"]] == ["arguments"]
    assert [one["field"] for one in story["finished"]["outcome"]["sealed"]] == ["result"]


def test_a_redirect_is_followed_by_nobody(gateway: Gateway) -> None:
    """architecture.md: redirects are off on every way out."""
    gateway.behaves(status=302, headers={"Location": "https://elsewhere.example/"})

    assert gateway.chat("small").json()["error"]["code"] == "upstream_redirected"
