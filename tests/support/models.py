"""A broker with models: five connectors of one service, routes to them, and an agent that may use some."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from ruamel.yaml import YAML

from broker.app.parts import Parts
from broker.connector import Connector
from broker.egress import Secret
from broker.oauth import ApiKeyGrant
from broker.testing.models import KEY, Behaviour, ModelService, Seen
from connectors import models
from tests.support.broker import Record, ServedBroker, until
from tests.support.documents import ANALYST, HEAD, write_documents
from tests.support.notes import Notes, NotesService

PROVIDERS = {
    "openai": models.OPENAI,
    "anthropic": models.ANTHROPIC,
    "azure": models.AZURE_OPENAI,
    "backup": models.OPENAI_COMPATIBLE,
    "openrouter": models.OPENROUTER,
}
PRICES = "{input: 1, output: 10, cache_read: 0.1}"
ROUTES = f"""
small: {{targets: [{{connector: openai, model: gpt-small, prices: {PRICES}}}], max_output_tokens: 100}}
twice:
  targets:
    - {{connector: openai, model: gpt-small, prices: {PRICES}}}
    - {{connector: backup, model: llama, region: eu, labels: [zdr], prices: {PRICES}}}
  cooldown: {{failures: 2, seconds: 60}}
claude: {{targets: [{{connector: anthropic, model: claude-small, prices: {PRICES}}}]}}
azure: {{targets: [{{connector: azure, model: my-deployment, prices: {PRICES}}}]}}
routed:
  targets:
    - connector: openrouter
      model: vendor/model
      prices: {PRICES}
      provider: {{only: [vendor], zdr: true}}
unpriced: {{targets: [{{connector: backup, model: home-made}}]}}
secret: {{targets: [{{connector: openai, model: gpt-secret, prices: {PRICES}}}]}}
"""
Headers = Mapping[str, str | None] | None
MINE = "[small, twice, claude, azure, routed, unpriced]"


class Providers(Notes):
    """The notes, and services of models."""

    def find(self, name: str) -> Connector:
        """Return the connector of a type."""
        found = {one.name: one for one in PROVIDERS.values()}
        return found.get(name, self.connector)


@dataclass
class Gateway:
    """A broker that serves models, and the service behind it."""

    broker: ServedBroker
    service: ModelService

    def post(self, path: str, body: Any, headers: Headers = None, **more: Any) -> requests.Response:
        """Post a request as the analyst."""
        given = {"Authorization": f"Bearer {self.broker.token()}", **(headers or {})}
        return requests.post(self.broker.url + path, json=body, headers=given, timeout=60, **more)

    def chat(self, model: str = "small", headers: Headers = None, **more: Any) -> requests.Response:
        """Ask for a chat completion."""
        return self.post("/v1/chat/completions", {**asked(model), **more}, headers)

    def stream(self, path: str, body: Any) -> tuple[int, str]:
        """Ask for a stream, and return its status and all of it."""
        with self.post(path, {**body, "stream": True}, stream=True) as response:
            return response.status_code, response.content.decode()

    def get(self, path: str, **headers: str) -> requests.Response:
        """Get something as the analyst."""
        given = {"Authorization": f"Bearer {self.broker.token()}", **headers}
        return requests.get(self.broker.url + path, headers=given, timeout=60)

    def behaves(self, *turns: Behaviour, **behaviour: Any) -> None:
        """Say how the service answers: the next requests in turn, then all of them."""
        self.service.free.clear()
        with self.service.arrived.mutex:
            self.service.arrived.queue.clear()
        self.service.next = list(turns)
        self.service.behaves = Behaviour(**behaviour)

    @property
    def sent(self) -> Seen:
        """What the service was sent last."""
        return self.service.seen[-1]

    def finished(self) -> Record:
        """Return the end of the last call that ended."""
        found: Record = self.broker.records(kind="finished")[-1]["outcome"]
        return found

    def put(self, name: str, text: str) -> None:
        """Replace a document and have it in force."""
        before = self.broker.parts.documents.current.digest
        self.broker.written.put(name, text)
        until(lambda: self.broker.parts.documents.current.digest != before)


def asked(model: str = "small") -> dict[str, Any]:
    """Return a small request."""
    return {"model": model, "messages": [{"role": "user", "content": "How did we do?"}]}


def events_of(text: str) -> list[Any]:
    """Return what the events of a stream say."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def model_documents(url: str, routes: str = ROUTES, **spec: Any) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the documents: connectors, routes and the analyst's policy."""
    reach = "{private_ranges: [127.0.0.0/8], certificate_authority: models-ca.pem}"
    yield (
        "providers.yaml",
        "---\n".join(
            f"{HEAD}kind: Connector\nmetadata: {{name: {name}}}\n"
            f"spec: {{type: {connector.name}, url: '{url}/{name}', reach: {reach}}}\n"
            for name, connector in PROVIDERS.items()
        ),
    )
    found: Any = YAML(typ="safe", pure=True).load(routes)
    yield (
        "routes.yaml",
        "---\n".join(
            f"{HEAD}kind: ModelRoute\nmetadata: {{name: {alias}}}\nspec: {json.dumps(route)}\n"
            for alias, route in found.items()
        ),
    )
    yield "models-policy.yaml", models_policy(**spec)


def models_policy(allow: str = MINE, record: str = "", **models: Any) -> str:
    """Return the analyst's policy for models."""
    more = "".join(f", {name}: {value}" for name, value in models.items())
    audit = f"\n  audit: {{record: [identity, policy, action, outcome, {record}]}}" if record else ""
    return (
        f"{HEAD}kind: AgentPolicy\nmetadata: {{name: analyst-models}}\nspec:\n"
        f"  identity: {{workload: {ANALYST}}}\n  models: {{allow: {allow}{more}}}{audit}\n"
    )


@contextmanager
def open_gateway(directory: Path, notes: NotesService, service: ModelService, **spec: Any) -> Iterator[Gateway]:
    """Serve a broker with models; `spec` is put into the policy's `models`."""
    written = write_documents(directory, notes)
    (directory / "models-ca.pem").write_text(service.authority)
    for name, text in model_documents(service.url, **spec):
        written.put(name, text)
    with ServedBroker(written, Providers()) as broker:
        broker.await_(add_keys, broker.parts)
        yield Gateway(broker, service)


async def add_keys(parts: Parts, names: Sequence[str] = tuple(PROVIDERS)) -> None:
    """Connect an account of every service of models."""
    for name in names:
        await parts.vault.add(name, ApiKeyGrant(Secret(KEY)), {"user": "test", "uid": 0, "role": "admin"})
