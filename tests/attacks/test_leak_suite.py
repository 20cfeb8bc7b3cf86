"""The leak suite: an adversarial service, a careless connector, every door, and a search of all that came of it."""

import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker.app import Options
from broker.app.parts import Parts
from broker.documents import Documents, load
from broker.doors.admin.new_grants import NewGrant
from broker.errors import Refusal
from tests.support.broker import BrokerProcess, Line
from tests.support.documents import ANALYST, HEAD, Written, write_documents
from tests.support.leaky import KEY, PASSWORD, TOKEN, LeakyService
from tests.support.low_tls import anyio_backend
from tests.support.notes import NotesService
from tests.support.raw import RawAgent, raw_agents
from tests.support.serve import find
from tests.support.windows import Pieces

__all__ = ["anyio_backend"]  # a fixture

ATTEMPTS = 10_080
SAMPLE = 90
CONNECTORS = ("bearer", "keyed", "named")
PIECES = Pieces(TOKEN, KEY, PASSWORD)

_CONNECTOR = """\
kind: Connector
metadata: {{name: {name}}}
spec:
  type: leaky
  url: {url}
  resources: {{things: things}}
  grants: {{api_key: {{header: X-Api-Key}}}}
  oauth: {{token_endpoint: "{url}/token", audience: "{url}"}}
  reach: {{private_ranges: [127.0.0.0/8], certificate_authority: leaky.pem}}
"""


@pytest.fixture
def leaky(tmp_path: Path) -> Iterator[LeakyService]:
    """Serve the adversary."""
    with LeakyService(tmp_path / "leaky") as service:
        yield service


@pytest.fixture
def documents(tmp_path: Path, notes_service: NotesService, leaky: LeakyService) -> Written:
    """Write documents with a connector for each way in which a credential is sent."""
    written = write_documents(tmp_path / "access", notes_service)
    written.put("leaky.pem", leaky.authority)
    written.put("leaky.yaml", "---\n".join(HEAD + _CONNECTOR.format(name=name, url=leaky.url) for name in CONNECTORS))
    tools = ", ".join(f"{{resource: {name}.things, actions: [read]}}" for name in CONNECTORS)
    written.put(
        "leaky-policy.yaml",
        f"{HEAD}kind: AgentPolicy\nmetadata: {{name: leaky}}\nspec: {{identity: {{workload: {ANALYST}}}, "
        f"tools: [{tools}]}}\n",
    )
    return written


GRANTS = (
    {"connector": "bearer", "kind": "client-credentials", "client_id": "c", "client_secret": "secret-of-a-client"},
    {"connector": "keyed", "kind": "api-key", "key": KEY},
    {"connector": "named", "kind": "basic", "username": "user", "password": PASSWORD},
)


def attempt_all(process: BrokerProcess, attempts: int, spans: Path) -> dict[str, list[bytes]]:
    """Have every kind of agent call every connector; return all that could have carried something out, by its place."""
    agents = list(raw_agents(process))
    for agent in agents:
        agent.open()
    seen: dict[str, list[bytes]] = {}
    for number, (connector, agent) in zip(
        range(attempts), itertools.cycle(itertools.product(CONNECTORS, agents)), strict=False
    ):
        agent.received = b""
        agent.ask("tools/call", {"name": f"{connector}_things_read", "arguments": {"number": number}})
        seen.setdefault(f"{connector} by {name_of(agent)}", []).append(agent.received)
    for agent in agents:
        agent.received = b""
        agent.close()
        seen[f"the rest of {name_of(agent)}"] = [agent.received]
    return seen | left_behind(process, spans)


def name_of(agent: RawAgent) -> str:
    """Name an agent by its transport and era."""
    return f"{type(agent).__name__} {agent.era}"


def left_behind(process: BrokerProcess, spans: Path) -> dict[str, list[bytes]]:
    """Return what the broker has written, and what others on its machine can see of it."""
    seen: dict[str, list[bytes]] = {}
    with process.operators.export() as lines:
        seen["export"] = list(lines)
    seen["operators"] = [
        json.dumps(process.operators.get(f"/v1/{name}")).encode() for name in ("status", "grants", "agents", "trail")
    ]
    seen["metrics"] = [json.dumps(process.operators.get("/v1/metrics", format="json")).encode()]
    for file in ("environ", "cmdline"):
        seen[file] = [Path(f"/proc/{process.process.pid}/{file}").read_bytes()]
    process.process.terminate()
    stdout, _ = process.process.communicate(timeout=60)
    seen |= {"stdout": [stdout.encode()], "log": process.log.read_bytes().splitlines()}
    seen["spans"] = spans.read_bytes().splitlines()
    for stored in (process.written.directory / "data").iterdir():
        seen[stored.name] = [stored.read_bytes()]
    assert all(seen[name] for name in ("log", "spans", "broker.db", "export"))
    return seen


def leaks(seen: dict[str, list[bytes]]) -> dict[str, int]:
    """Return how many pieces of text hold a piece of a secret, by their place."""
    found = {place: sum(bool(PIECES.in_(text)) for text in texts) for place, texts in seen.items()}
    return {place: count for place, count in found.items() if count}


def blocked(seen: dict[str, list[bytes]]) -> int:
    """Return how many calls the trail says were withheld because of a leak."""
    return sum(json.loads(line).get("outcome", {}).get("code") == "leak_blocked" for line in seen["export"][1:])


def run(documents: Written, tmp_path: Path, attempts: int, *options: str) -> dict[str, list[bytes]]:
    """Serve a broker, attempt everything, and return what was seen."""
    spans = tmp_path / "spans.json"
    with BrokerProcess(documents, "--spans", str(spans), *options) as process:
        for grant in GRANTS:
            process.operators.post("/v1/grants", grant)
        return attempt_all(process, attempts, spans)


@pytest.mark.anyio
async def test_a_sample_of_attempts_gets_nothing_out(documents: Written, leaky: LeakyService) -> None:
    """Issue 5, The leak suite: the inner loop's sample, through the pipeline alone."""
    answers = []
    options = Options(documents.directory, development=True, find=find)
    loaded = Documents(load(options.directory, options.find), options.find)
    async with AsyncExitStack() as stack:
        parts = await Parts.build(options, loaded, stack)
        for grant in GRANTS:
            new = NewGrant.model_validate(grant)
            await parts.vault.add(new.connector, new.grant(), {"user": "test"})
        line = Line(parts, documents)
        for number, connector in zip(range(SAMPLE), itertools.cycle(CONNECTORS), strict=False):
            try:
                answers.append((await line.call(f"{connector}_things_read", {"number": number})).text)
            except Refusal as refusal:
                answers.append(f"{refusal.message} {refusal.facts}".encode())
        codes = [record["outcome"]["code"] for record in line.records(kind="finished")]
        answers += [json.dumps(record).encode() for record in line.records()]
        answers += (await parts.metrics.text())[0].splitlines()

    assert [text for text in answers if PIECES.in_(text)] == []
    assert leaky.repeated >= SAMPLE
    assert codes.count("leak_blocked") > SAMPLE / 10


@pytest.mark.slow
def test_ten_thousand_attempts_get_nothing_out(
    documents: Written, leaky: LeakyService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue 5, The leak suite: at least 10,000 attempts in CI, no eight bytes of a secret anywhere."""
    seen = run(documents, tmp_path, ATTEMPTS)

    counts = f"{leaky.repeated} repeated, {blocked(seen)} leak_blocked, {sum(leaks(seen).values())} got out"
    with capsys.disabled():
        sys.stdout.write(f"\nleak suite: {counts}\n")
    assert leaks(seen) == {}
    assert leaky.repeated >= ATTEMPTS
    assert blocked(seen) > ATTEMPTS / 10


@pytest.mark.slow
def test_the_same_attempts_get_much_out_once_the_scanner_is_off(
    documents: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue 5, The leak suite: the negative control proves that the suite can fail, by every door."""
    seen = run(documents, tmp_path, 360, "--matcher-off")

    found = leaks(seen)
    with capsys.disabled():
        sys.stdout.write(f"\nleak suite, scanner off: {sum(found.values())} of 360 got out\n")
    assert {
        f"bearer by {kind} {era}" for kind in ("RawHttp", "RawSse", "RawStdio") for era in ("legacy", "2026-07-28")
    } <= (found.keys())
    assert sum(found.values()) > 60
