"""A small set of documents that is right, to be broken in one place, and a connector that needs no library."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.connector import Connector, ConnectorDocument, Endpoints, Response, Session, Tool, ToolCall
from broker.documents import FindConnector, Invalid, Problem, load
from broker.testing.certificates import CertificateAuthority
from broker.testing.trust_domain import DevelopmentTrustDomain

BROKER = """\
apiVersion: access.envisionai.dev/v1
kind: Broker
metadata:
  name: broker
spec:
  log: example.com/log
  audience: http://127.0.0.1:8470/mcp
  key: { source: file, path: secrets/vault.key }
  operators:
    - { user: "4000000001", role: admin }
"""
DOMAIN = """\
apiVersion: access.envisionai.dev/v1
kind: TrustDomain
metadata: { name: prod }
spec:
  environment: production
  development: true
  bundle: { file: bundle.json }
"""
AGENT = """\
apiVersion: access.envisionai.dev/v1
kind: Agent
metadata:
  name: finance-analyst
spec:
  workload: spiffe://prod/agent/finance-analyst
  owner: jane.doe@example.com
  team: finance
  environment: production
  deployment: one
  selectors: ["unix:uid:4000000002"]
"""
CONNECTOR = """\
apiVersion: access.envisionai.dev/v1
kind: Connector
metadata: { name: salesforce }
spec:
  type: notes
  url: https://notes.example.com
  resources:
    accounts: Account
    contacts: Contact
"""
POLICY = """\
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata:
  name: finance-analyst-readonly
spec:
  identity:
    workload: spiffe://prod/agent/finance-analyst
  tools:
    - resource: salesforce.accounts
      actions: [read, search]
      deny: [export]
  credentials:
    injection: runtime
    expose_to_agent: false
  audit:
    record: [identity, policy, action, outcome]
"""
FILES = {
    "broker.yaml": BROKER,
    "domain.yaml": DOMAIN,
    "agent.yaml": AGENT,
    "connector.yaml": CONNECTOR,
    "policy.yaml": POLICY,
}

Change = Callable[..., list[Problem]]
"""`change("policy.yaml", "read", "raed")` writes the set so and returns what is wrong with it."""


async def run(_call: ToolCall, _session: Session) -> Any:
    """Do nothing."""


async def probe(_session: Session, _document: ConnectorDocument) -> str:
    """Answer without asking."""
    return "there"


def expired(_response: Response) -> bool:
    """Say that no token ever expires."""
    return False


def tools(document: ConnectorDocument, snapshot: Any) -> list[Tool]:
    """Offer what connectors usually offer, only part of it built; without a snapshot that is named, none of it."""
    built = document.snapshot is None or snapshot is not None
    return [
        Tool(
            name,
            action,
            "A tool.",
            INPUT if action == "search" else {"type": "object"},
            {},
            reads_only=True,
            run=run if works and built else None,
            filterable=frozenset({"Owner.Email"} if action == "search" else ()),
            records="records" if action == "search" else None,
        )
        for name in document.resources
        for action, works in (("read", True), ("search", True), ("update", False), ("delete", False), ("export", False))
    ]


INPUT = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "limit": {"type": "integer"}},
    "additionalProperties": False,
}


NOTES = Connector("notes", (), Endpoints("https://notes.example.com/token"), "jwt-bearer", tools, expired, probe)


@pytest.fixture
def find() -> FindConnector:
    """Find the connector of these tests, and no other."""

    def find(name: str) -> Connector:
        if name != "notes":
            raise LookupError(name)
        return NOTES

    return find


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Write the set that is right."""
    place = tmp_path / "set"
    place.mkdir()
    for name, text in FILES.items():
        (place / name).write_text(text)
    (place / "bundle.json").write_text(json.dumps(DevelopmentTrustDomain.new("prod").bundle()))
    return place


@pytest.fixture
def problems(directory: Path, find: FindConnector) -> Callable[[], list[Problem]]:
    """Return what is wrong with the set as it stands."""

    def problems() -> list[Problem]:
        try:
            load(directory, find)
        except Invalid as invalid:
            return invalid.problems
        return []

    return problems


@pytest.fixture
def change(directory: Path, problems: Callable[[], list[Problem]]) -> Change:
    """Change a file of the set, piece by piece, and return what is wrong then."""

    def change(file: str, *pieces: str) -> list[Problem]:
        path = directory / file
        text = path.read_text()
        for old, new in zip(pieces[::2], pieces[1::2], strict=True):
            assert old in text
            text = text.replace(old, new, 1)
        path.write_text(text)
        return problems()

    return change


@pytest.fixture
def files() -> Mapping[str, str]:
    """Return the texts of the set that is right."""
    return FILES


@pytest.fixture(scope="session")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate authority of our own, as PEM."""
    return CertificateAuthority(tmp_path_factory.mktemp("authority")).certificate_file
