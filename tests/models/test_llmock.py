"""A service of models that is not ours, broken on purpose: what agents get is whole, or says that it is not."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from broker.testing.certificates import CertificateAuthority
from broker.testing.models import ModelService
from tests.support.broker import ServedBroker
from tests.support.documents import HEAD, write_documents
from tests.support.models import Gateway, Providers, add_keys, asked, events_of, models_policy
from tests.support.notes import NotesService
from tests.support.ports import free_port
from tests.support.tls_front import tls_front

pytestmark = pytest.mark.slow

PRICES = "prices: {input: 1, output: 10}"
DOCUMENTS = """{head}kind: Connector
metadata: {{name: openai}}
spec: {{type: openai, url: '{url}/v1', reach: {reach}}}
---
{head}kind: Connector
metadata: {{name: anthropic}}
spec: {{type: anthropic, url: '{url}/anthropic', reach: {reach}}}
---
{head}kind: Connector
metadata: {{name: hastyopenai}}
spec: {{type: openai, url: '{url}/v1', reach: {reach}, limits: {{total_seconds: 2}}}}
---
{head}kind: Connector
metadata: {{name: hastyanthropic}}
spec: {{type: anthropic, url: '{url}/anthropic', reach: {reach}, limits: {{total_seconds: 2}}}}
---
{head}kind: ModelRoute
metadata: {{name: small}}
spec: {{targets: [{{connector: openai, model: gpt-4o, {prices}}}], max_output_tokens: 1000}}
---
{head}kind: ModelRoute
metadata: {{name: twice}}
spec:
  targets: [{{connector: openai, model: gpt-4o, {prices}}}, {{connector: openai, model: gpt-4o-mini, {prices}}}]
---
{head}kind: ModelRoute
metadata: {{name: claude}}
spec: {{targets: [{{connector: anthropic, model: claude-sonnet-4-5, {prices}}}], max_output_tokens: 1000}}
---
{head}kind: ModelRoute
metadata: {{name: hasty-small}}
spec: {{targets: [{{connector: hastyopenai, model: gpt-4o, {prices}}}], max_output_tokens: 1000}}
---
{head}kind: ModelRoute
metadata: {{name: hasty-claude}}
spec: {{targets: [{{connector: hastyanthropic, model: claude-sonnet-4-5, {prices}}}], max_output_tokens: 1000}}
"""
REACH = "{private_ranges: [127.0.0.0/8], certificate_authority: llmock-ca.pem}"


class Mock:
    """llmock, to be told what to do with the next requests."""

    def __init__(self, port: int) -> None:
        self.port = port

    def will(self, *behaviors: dict[str, Any]) -> None:
        """Queue behaviours."""
        self._ask("POST", "reset")
        if behaviors:
            self._ask("POST", "scenario", {"behaviors": list(behaviors)}).raise_for_status()

    def seen(self) -> list[Any]:
        """Return every request since the last `will`."""
        found: Any = self._ask("GET", "requests").json()
        return list(found["requests"] if isinstance(found, dict) else found)

    def _ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(method, f"http://127.0.0.1:{self.port}/_llmock/{path}", json=body, timeout=60)


@pytest.fixture(scope="session")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    """Run llmock."""
    command = os.environ.get("AAM_LLMOCK")
    if command is None:
        why = "AAM_LLMOCK does not name the command of llmock"
        if os.environ.get("AAM_CI"):
            pytest.fail(why)
        pytest.skip(why)
    port = free_port()
    log = (tmp_path_factory.mktemp("llmock") / "log").open("wb")
    arguments = [
        "serve",
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--response-style",
        "static",
        "--log-level",
        "error",
    ]
    with log, subprocess.Popen([command, *arguments], stdout=log, stderr=log) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=60)
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        yield Mock(port)
        process.terminate()


@pytest.fixture(scope="session")
def mocked(mock: Mock, notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Serve a gateway before llmock."""
    place: Path = tmp_path_factory.mktemp("mocked")
    authority = CertificateAuthority(place)
    with tls_front(mock.port, authority.issue("llmock")) as url, ModelService(_made(place / "unused")) as unused:
        written = write_documents(place / "access", notes_service)
        (written.directory / "llmock-ca.pem").write_text(authority.certificate_file.read_text())
        written.put("models.yaml", DOCUMENTS.format(head=HEAD, url=url, reach=REACH, prices=PRICES))
        written.put("models-policy.yaml", models_policy("[small, twice, claude, hasty-small, hasty-claude]"))
        with ServedBroker(written, Providers()) as broker:
            for name in ("openai", "anthropic", "hastyopenai", "hastyanthropic"):
                broker.await_(add_keys, broker.parts, (name,))
            yield Gateway(broker, unused)


def _made(place: Path) -> Path:
    place.mkdir()
    return place


PATHS = {
    "chat": ("/v1/chat/completions", asked("small")),
    "responses": ("/v1/responses", {"model": "small", "input": "Hello"}),
    "messages": ("/v1/messages", {**asked("claude"), "max_tokens": 100}),
}
EVERY = pytest.mark.parametrize("api", PATHS)


@EVERY
def test_it_answers_whole_and_streamed(mocked: Gateway, mock: Mock, api: str) -> None:
    """Issue 7: tested against llmock for protocol faults; first without any."""
    mock.will()
    path, body = PATHS[api]

    assert mocked.post(path, body).status_code == 200
    status, text = mocked.stream(path, body)

    assert status == 200
    assert "error" not in events_of(text)[-1] or events_of(text)[-1]["error"] is None
    assert mocked.finished()["status"] == "released"


@EVERY
@pytest.mark.parametrize("kind", ["disconnect", "truncate", "stall", "malformed"])
def test_a_stream_with_a_fault_ends_in_an_error(mocked: Gateway, mock: Mock, api: str, kind: str) -> None:
    """Streams are whole or say that they are not."""
    mock.will({"type": "stream_fault", "kind": kind, "after_chunks": 3})
    path, body = PATHS[api]
    if kind == "stall":  # nothing else is waited for so briefly
        body = {**body, "model": f"hasty-{body['model']}"}

    status, text = mocked.stream(path, body)

    assert status == 200
    assert events_of(text)[-1]["error"]["code"] in {
        "stream_truncated", "stream_broken", "upstream_interrupted", "upstream_timeout"
    }  # fmt: skip
    assert mocked.finished()["attempts"][0]["cost_source"] == "upper_bound"


@pytest.mark.parametrize(
    ("status", "expected"), [(400, 400), (401, 503), (429, 429), (500, 503), (503, 503), (529, 503)]
)
@EVERY
def test_its_errors_become_ours(mocked: Gateway, mock: Mock, api: str, status: int, expected: int) -> None:
    """Each API's errors, in each API's own shape; one request upstream for one of the agent's."""
    mocked.broker.parts.models.means.health = type(mocked.broker.parts.models.means.health)()
    mock.will({"type": "fail", "status": status, "retry_after": 3, "message": "words of the provider"})
    path, body = PATHS[api]

    answer = mocked.post(path, body)

    assert answer.status_code == expected
    assert "words of the provider" not in answer.text
    assert len(mock.seen()) == 1


def test_the_next_target_answers_where_the_first_is_overloaded(mocked: Gateway, mock: Mock) -> None:
    """Failover before the first byte."""
    mocked.broker.parts.models.means.health = type(mocked.broker.parts.models.means.health)()
    mock.will({"type": "fail", "status": 503})

    assert mocked.chat("twice").status_code == 200
    assert [attempt["status"] for attempt in mocked.finished()["attempts"]] == ["failed", "answered"]
