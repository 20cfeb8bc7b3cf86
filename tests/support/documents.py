"""A small set of documents for tests: one broker, two trust domains, agents of every status, one connector."""

import json
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.testing.trust_domain import DevelopmentTrustDomain
from broker.vault import create_key
from tests.support.notes import NotesService

AUDIENCE = "http://127.0.0.1:8470/mcp"
ANALYST = "spiffe://prod/agent/analyst"
OTHER = "spiffe://prod/agent/other"
BARRED = {
    "agent_suspended": "spiffe://prod/agent/suspended",
    "agent_retired": "spiffe://prod/agent/retired",
    "agent_expired": "spiffe://prod/agent/expired",
    "agent_unregistered": "spiffe://prod/agent/stranger",
}
HEAD = "apiVersion: access.envisionai.dev/v1\n"


@dataclass(frozen=True, slots=True)
class Written:
    """Where the documents are, and who signs for their trust domains."""

    directory: Path
    prod: DevelopmentTrustDomain
    partner: DevelopmentTrustDomain

    def token(self, *workload: str, **claims: Any) -> str:
        """Return a JWT-SVID for a workload of either trust domain; for the analyst if none is named."""
        (name,) = workload or (ANALYST,)
        domain = self.partner if name.startswith("spiffe://partner.example/") else self.prod
        return domain.mint(name, AUDIENCE, **claims)

    def put(self, name: str, text: str) -> None:
        """Replace one document, whole."""
        temporary = self.directory / f".{Path(name).name}.new"
        temporary.write_text(text)
        temporary.replace(self.directory / name)


def write_documents(directory: Path, notes: NotesService, **broker: Any) -> Written:
    """Write the set; `broker` replaces or adds members of the Broker document's spec."""
    directory.mkdir(parents=True, exist_ok=True)
    create_key("file", str(directory / "secrets/vault.key"))
    prod, partner = DevelopmentTrustDomain.new("prod"), DevelopmentTrustDomain.new("partner.example")
    for name, domain in (("prod", prod), ("partner", partner)):
        (directory / f"{name}.json").write_text(json.dumps(domain.bundle()))
    (directory / "ca.pem").write_text(notes.authority)
    written = Written(directory, prod, partner)
    written.put("broker.yaml", broker_document(**broker))
    written.put("trust.yaml", TRUST)
    written.put("agents.yaml", agents_document())
    written.put("notes.yaml", connector_document(notes.url))
    written.put("policies.yaml", POLICIES)
    return written


def broker_document(**changes: Any) -> str:
    """Return the Broker document."""
    spec = {
        "log": "access.envisionai.dev/log/test",
        "audience": AUDIENCE,
        "listen": {"http": "127.0.0.1:0"},
        "key": {"source": "file", "path": "secrets/vault.key"},
        "operators": [{"user": pwd.getpwuid(os.getuid()).pw_name, "role": "admin"}],
    }
    return json.dumps(
        {
            "apiVersion": "access.envisionai.dev/v1",
            "kind": "Broker",
            "metadata": {"name": "broker"},
            "spec": spec | changes,
        }
    )


def agents_document(analyst: str = "active") -> str:
    """Return the Agent documents; the analyst may have another status than active."""
    return "---\n".join(
        f"{HEAD}kind: Agent\nmetadata: {{name: {name}}}\nspec:\n"
        f"  {{workload: {workload}, owner: jane@example.com, team: finance, environment: {environment},"
        f" deployment: {name}-1, {more}}}\n"
        for name, workload, environment, more in (
            ("analyst", ANALYST, "production", f"status: {analyst}, selectors: ['unix:uid:{os.getuid()}']"),
            ("other", OTHER, "production", "status: active"),
            ("partner", "spiffe://partner.example/agent/partner", "partners", "status: active"),
            ("suspended", BARRED["agent_suspended"], "production", "status: suspended"),
            ("retired", BARRED["agent_retired"], "production", "status: retired"),
            ("expired", BARRED["agent_expired"], "production", "valid_until: 2026-01-01T00:00:00Z"),
        )
    )


def connector_document(url: str, snapshot: str | None = None) -> str:
    """Return the Connector document for the service at a URL."""
    return f"""{HEAD}kind: Connector
metadata: {{name: notes}}
spec:
  type: notes
  url: {url}
  resources: {{notes: notes, secrets: secrets}}
  oauth: {{token_endpoint: "{url}/token", audience: "{url}"}}
  reach: {{private_ranges: [127.0.0.0/8], certificate_authority: ca.pem}}
  {f"snapshot: {snapshot}" if snapshot else ""}
"""


TRUST = f"""{HEAD}kind: TrustDomain
metadata: {{name: prod}}
spec: {{environment: production, development: true, bundle: {{file: prod.json}}}}
---
{HEAD}kind: TrustDomain
metadata: {{name: partner.example}}
spec: {{environment: partners, bundle: {{file: partner.json}}}}
"""

# The analyst may read, write and misbehave; another agent only reads; nobody speaks of notes.secrets to either
POLICIES = f"""{HEAD}kind: AgentPolicy
metadata: {{name: analyst-notes}}
spec:
  identity: {{workload: {ANALYST}}}
  tools: [{{resource: notes.notes, actions: [read, write, misbehave, archive], deny: [purge]}}]
---
{HEAD}kind: AgentPolicy
metadata: {{name: other-notes}}
spec:
  identity: {{workload: {OTHER}}}
  tools: [{{resource: notes.notes, actions: [read]}}]
"""


def recording_policy(*recorded: str, name: str = "analyst-recorded", workload: str = ANALYST) -> str:
    """Return a policy that permits nothing, and has parts of an agent's calls recorded encrypted."""
    words = ", ".join(("identity", "policy", "action", "outcome", *recorded))
    return (
        f"{HEAD}kind: AgentPolicy\nmetadata: {{name: {name}}}\n"
        f"spec: {{identity: {{workload: '{workload}'}}, audit: {{record: [{words}]}}}}\n"
    )
