"""The starter set, as `aam init` writes it, on the Salesforce-shaped service."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.cli.init import DEVELOPMENT_KEY, write_starter
from broker.testing.salesforce import SalesforceService
from broker.testing.trust_domain import DevelopmentTrustDomain

PORT = 8479  # in the audience; the listener takes a free one
AUDIENCE = f"http://127.0.0.1:{PORT}/mcp"
ANALYST = "spiffe://prod/agent/finance-analyst"

CONNECTOR = """\
apiVersion: access.envisionai.dev/v1
kind: Connector
metadata: {{name: salesforce}}
spec:
  type: salesforce
  url: {url}
  resources: {{accounts: Account, contacts: Contact, opportunities: Opportunity, cases: Case}}
  snapshot: salesforce.snapshot.json
  oauth:
    token_endpoint: {url}/services/oauth2/token
    revocation_endpoint: {url}/services/oauth2/revoke
    audience: {audience}
  reach: {{private_ranges: [127.0.0.0/8, "::1/128"], certificate_authority: ca.pem}}
"""

# Everything that is built, on two objects: what a canary might come out of
_READER = f"""\
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata: {{name: finance-analyst-reader}}
spec:
  identity: {{workload: {ANALYST}}}
  tools:
    - {{resource: salesforce.accounts, actions: [describe]}}
    - {{resource: salesforce.contacts, actions: [read, search, describe]}}
"""


@dataclass(frozen=True, slots=True)
class StarterSet:
    """Where the starter set is, and who signs for its agent."""

    directory: Path
    domain: DevelopmentTrustDomain

    def token(self, *workload: str, **claims: Any) -> str:
        """Return a fresh token."""
        (name,) = workload or (ANALYST,)
        return self.domain.mint(name, AUDIENCE, **claims)


def write_starter_set(directory: Path, service: SalesforceService) -> StarterSet:
    """Write the starter set and point its connector at the service."""
    write_starter(directory, PORT)
    broker = directory / "broker.yaml"
    broker.write_text(broker.read_text().replace(f"http: 127.0.0.1:{PORT}\n", "http: 127.0.0.1:0\n"))
    (directory / "connectors/salesforce.yaml").write_text(CONNECTOR.format(url=service.url, audience=service.audience))
    (directory / "connectors/ca.pem").write_text(service.ca_file.read_text())
    (directory / "policies/reader.yaml").write_text(_READER)
    return StarterSet(directory, DevelopmentTrustDomain.read("prod", directory / DEVELOPMENT_KEY))


def grant(service: SalesforceService) -> dict[str, str]:
    """Return what connects the service's account."""
    return {
        "connector": "salesforce",
        "client_id": service.consumer_key,
        "subject": service.username,
        "private_key": service.private_key_file.read_text(),
    }
