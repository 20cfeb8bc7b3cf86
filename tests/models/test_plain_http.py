"""A server of models on this machine that speaks HTTP without TLS, as Ollama and vLLM do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.testing.models import Behaviour, ModelService
from tests.support.documents import HEAD
from tests.support.models import Gateway, add_keys, asked, events_of, models_policy

OWN = """{head}kind: Connector
metadata: {{name: backup2}}
spec: {{type: openai-compatible, url: '{url}/v1', reach: {reach}}}
---
{head}kind: ModelRoute
metadata: {{name: own}}
spec: {{targets: [{{connector: backup2, model: llama, prices: {{input: 0, output: 0}}}}], max_output_tokens: 100}}
"""
REACH = "{private_ranges: [127.0.0.0/8], plain_http: true}"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[ModelService]:
    """Serve models without TLS."""
    with ModelService(tmp_path, tls=False) as service:
        yield service


def test_a_model_on_this_machine_is_called_without_tls(own_gateway: Gateway, plain: ModelService) -> None:
    """Issue 7: any OpenAI-compatible endpoint (vLLM, Ollama), whole and streamed, with its own key and on record."""
    own_gateway.put("own.yaml", OWN.format(head=HEAD, url=plain.url, reach=REACH))
    own_gateway.put("models-policy.yaml", models_policy("[own]"))
    own_gateway.broker.await_(add_keys, own_gateway.broker.parts, ["backup2"])
    tried = own_gateway.broker.operators.post("/v1/connectors/backup2/test", {})
    plain.seen.clear()
    plain.next = [Behaviour(words=("fine",)), Behaviour(words=("very", "fine"))]

    whole = own_gateway.chat("own")
    status, stream = own_gateway.stream("/v1/chat/completions", asked("own"))

    assert tried["passed"] == ["dns", "address", "connect", "token", "call"]
    assert (whole.status_code, whole.json()["choices"][0]["message"]["content"]) == (200, "fine")
    assert status == 200
    assert [event["choices"][0]["delta"].get("content") for event in events_of(stream) if event["choices"]][-2:] != []
    assert [seen.path for seen in plain.seen] == ["/v1/chat/completions"] * 2
    assert own_gateway.finished()["attempts"][0]["target"] == "backup2/llama"
