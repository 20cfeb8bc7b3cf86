"""Upstream MCP servers for tests: processes of their own, and documents that put a broker in front of them."""

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from broker.app import Options
from broker.app.parts import Parts
from broker.connector import Connector
from broker.connector.installed import find_connector
from broker.documents import Documents, load
from broker.pipeline import service_of, session_of
from broker.testing.certificates import CertificateAuthority
from broker.testing.trust_domain import DevelopmentTrustDomain
from broker.vault import NoCredential, create_key
from connectors.mcp import CONNECTOR
from tests.support.broker import Line, ServedBroker, until
from tests.support.documents import ANALYST, HEAD, TRUST, Written, agents_document, broker_document

ROOT = Path(__file__).parents[2]


def find(name: str) -> Connector:
    """Find connectors as they are installed, and this one as it lies here."""
    return CONNECTOR if name == "mcp" else find_connector(name)


@contextlib.contextmanager
def everything(place: Path, how: str = "http") -> Iterator[str]:
    """Serve the server with one of everything over TLS; yield its URL."""
    certificate = CertificateAuthority(place).issue("everything")
    command = [sys.executable, "-m", "tests.support.everything", how]
    files = [str(certificate.certificate_file), str(certificate.key_file)]
    process = subprocess.Popen([*command, *files], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        assert port, "the server did not start"
        yield f"https://localhost:{port}/{'sse' if how == 'sse' else 'mcp'}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def over_tls(url: str, place: Path, **settings: Any) -> dict[str, Any]:
    """Return the `spec` of a connector for a server on loopback that asks for no credential."""
    reach = {"private_ranges": ["127.0.0.0/8", "::1/128"], "certificate_authority": str(place / "ca.pem")}
    return {"url": url, "snapshot": "up.snapshot.json", "grants": {"kinds": []}, "reach": reach, "settings": settings}


def as_program(command: list[str], *, snapshot: str = "up.snapshot.json", **settings: Any) -> dict[str, Any]:
    """Return the `spec` of a connector for a server that is a program, and asks for no credential."""
    process = {"command": command}
    return {"process": process, "snapshot": snapshot, "grants": {"kinds": []}, "settings": settings}


def pin(broker: ServedBroker, name: str) -> dict[str, Any]:
    """Fetch and approve what a server says of itself, as an operator does; return it, once it is in force."""
    found = broker.operators.post(f"/v1/connectors/{name}/snapshot")
    before = broker.parts.documents.current.digest
    broker.operators.put(f"/v1/connectors/{name}/snapshot", {"sha256": found["sha256"]})
    until(lambda: broker.parts.documents.current.digest != before)
    fetched: dict[str, Any] = found["fetched"]
    return fetched


def write_set(
    directory: Path, connectors: Mapping[str, Mapping[str, Any]], tools: list[dict[str, Any]], **broker: Any
) -> Written:
    """Write a set of documents with connectors by name, and one policy, for the analyst."""
    directory.mkdir(parents=True, exist_ok=True)
    create_key("file", str(directory / "secrets/vault.key"))
    prod, partner = DevelopmentTrustDomain.new("prod"), DevelopmentTrustDomain.new("partner.example")
    for name, domain in (("prod", prod), ("partner", partner)):
        (directory / f"{name}.json").write_text(json.dumps(domain.bundle()))
    written = Written(directory, prod, partner)
    written.put("broker.yaml", broker_document(**broker))
    written.put("trust.yaml", TRUST)
    written.put("agents.yaml", agents_document())
    for name, spec in connectors.items():
        written.put(f"{name}.yaml", document("Connector", name, {"type": "mcp", **spec}))
    written.put("policy.yaml", document("AgentPolicy", "analyst", {"identity": {"workload": ANALYST}, "tools": tools}))
    return written


def document(kind: str, name: str, spec: Any) -> str:
    """Return a document as text; JSON is YAML too."""
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}}}\nspec: {json.dumps(spec)}\n"


@contextlib.asynccontextmanager
async def mcp_line(written: Written, *pinned: str) -> AsyncIterator[Line]:
    """Build the parts of a broker on such a set, and pin what its servers say of themselves."""
    options = Options(written.directory, development=True, find=find)
    documents = Documents(load(options.directory, find), find)
    async with contextlib.AsyncExitStack() as stack:
        parts = await Parts.build(options, documents, stack)
        line = Line(parts, written)
        for name in pinned:
            await pin_at_once(line, name)
        yield line


async def pin_at_once(line: Line, name: str) -> None:
    """Fetch what a server says of itself, pin it, and put it in force."""
    parts = line.parts
    connection = parts.documents.current.connections[name]
    service = service_of(connection, parts.egress)
    credential = NoCredential() if not service.kinds else parts.vault.open(service)
    with credential:
        session = session_of(connection, service, parts.egress, credential, connection.connector.expired)
        assert connection.connector.describe is not None
        assert connection.snapshot_file is not None
        found = await connection.connector.describe(session, connection.document)
    connection.snapshot_file.write_text(json.dumps(found))
    parts.documents.current = load(line.written.directory, find)
