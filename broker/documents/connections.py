"""Connectors as configured: where each may reach, what it has pinned, and the tools that it offers."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from broker.catalog import Catalog, CatalogTool, catalog_tool
from broker.connector import MODELS, Connector, ConnectorDocument
from broker.connector.installed import installed_types
from broker.documents.findings import Findings, value_at
from broker.documents.parse import Document, check_settings
from broker.documents.snapshot import Connection, FindConnector
from broker.documents.trust import certificate_authority, check_url, networks, origin
from broker.documents.words import closest, nearest
from broker.egress import Limits, Reach
from broker.egress.database import DatabasePlace, database_place


def check_connections(findings: Findings, find: FindConnector) -> tuple[dict[str, Connection], Catalog]:
    """Return the connections by name, and the catalogue of all their tools."""
    connections: dict[str, Connection] = {}
    tools: dict[str, CatalogTool] = {}
    prompts: dict[str, CatalogTool] = {}
    for document in findings.of("Connector"):
        before = len(findings.errors)
        connector = _connector(findings, document, find)
        connection = None if connector is None else _connection(findings, document, connector)
        if connection is None or len(findings.errors) > before:
            findings.break_off(document)
            continue
        connections.setdefault(document.name, connection)
        for tool in _tools(findings, document, connection):
            other = tools.setdefault(tool.name, tool)
            if other is not tool and (other.resource, other.action) != (tool.resource, tool.action):
                findings.wrong(
                    document,
                    ("spec", "resources"),
                    f"{tool.resource} {tool.action} and {other.resource} {other.action} would both be {tool.name}",
                )
            _check_prompts(findings, document, tool, prompts)
    return connections, Catalog(tools.values(), (name for name, one in connections.items() if one.undescribed))


def _check_prompts(findings: Findings, document: Document, tool: CatalogTool, known: dict[str, CatalogTool]) -> None:
    """Check that no other connector has a prompt of the same name: a client could not say which it means."""
    for name, _ in tool.prompts:
        other = known.setdefault(name, tool)
        if other.connector != tool.connector:
            findings.wrong(document, ("spec",), f"{other.connector} and {tool.connector} both have a prompt {name}")


def named_resources(findings: Findings) -> Iterator[str]:
    """Yield the resources of connectors that have mistakes of their own, as far as those can be told."""
    for source in findings.with_mistakes("Connector"):
        name, resources = (findings.right(source, place) for place in (("metadata", "name"), ("spec", "resources")))
        if isinstance(name, str) and isinstance(resources, dict):
            yield from (f"{name}.{resource}" for resource in resources)


def _connector(findings: Findings, document: Document, find: FindConnector) -> Connector | None:
    name = document.spec.type
    try:
        return find(name)
    except LookupError:
        findings.wrong(
            document, ("spec", "type"), f"no connector {name!r} is installed{nearest(name, installed_types())}"
        )
    except Exception as error:  # noqa: BLE001 - somebody else's module: whatever it raises, the others are still checked
        findings.wrong(document, ("spec", "type"), f"the connector {name!r} cannot be loaded: {type(error).__name__}")
    return None


def _connection(findings: Findings, document: Document, connector: Connector) -> Connection:
    spec: ConnectorDocument = document.spec
    findings.report(check_settings(document, connector.settings, spec.settings))
    _check_place(findings, document, connector)
    if document.name == MODELS:
        findings.wrong(document, ("metadata", "name"), "a connector cannot be called 'models': that is what models are")
    private = networks(findings, document, ("spec", "reach", "private_ranges"), spec.reach.private_ranges)
    database = _database(findings, document)
    own = "" if spec.url is None else origin(spec.url) if database is None else database.origin
    reach = Reach(frozenset({own, *connector.hosts, *spec.reach.hosts} - {""}), private, spec.reach.plain_http)
    if spec.reach.plain_http and not (spec.url or "").startswith("http://"):
        findings.wrong(document, ("spec", "reach", "plain_http"), "is for a URL that begins with http:// and no other")
    authority = certificate_authority(
        findings, document, ("spec", "reach", "certificate_authority"), spec.reach.certificate_authority
    )
    for place, url in (
        (("spec", "url"), spec.url if spec.dialect is None else None),
        (("spec", "oauth", "token_endpoint"), spec.oauth.token_endpoint),
        (("spec", "oauth", "revocation_endpoint"), spec.oauth.revocation_endpoint),
        (("spec", "oauth", "identity_provider"), spec.oauth.identity_provider),
    ):
        if url is not None:
            check_url(findings, document, place, url, reach)
    snapshot_file = None
    if spec.snapshot is not None:
        snapshot_file = _beside(findings, document, spec.snapshot)
    return Connection(
        document.name,
        connector,
        spec,
        reach,
        _limits(connector, spec),
        authority,
        snapshot_file,
        _snapshot(findings, document, snapshot_file),
        None if spec.oauth.client_svid is None else _beside(findings, document, spec.oauth.client_svid),
        document.source.file,
        database,
    )


def _limits(connector: Connector, spec: ConnectorDocument) -> Limits:
    """Return a connector's caps: a model thinks longer and says more than others, unless its document says not."""
    limits, said = spec.limits.limits(), spec.limits.model_fields_set
    if connector.models is None:
        return limits
    usual: dict[str, Any] = {
        "total_seconds": connector.models.seconds,
        "response_bytes": connector.models.response_bytes,
    }
    return replace(limits, **{name: one for name, one in usual.items() if name not in said})


def _database(findings: Findings, document: Document) -> DatabasePlace | None:
    """Return the database that the URL names, a file beside the document; note a mistake if it cannot be used."""
    spec: ConnectorDocument = document.spec
    if spec.url is None:
        return None
    try:
        place = database_place(spec.url, (findings.files.directory / document.source.file).parent)
    except ValueError as error:
        findings.wrong(document, ("spec", "url"), str(error))
        return None
    if place is not None and place.dialect == "postgres" and importlib.util.find_spec("psycopg") is None:
        findings.wrong(
            document,
            ("spec", "url"),
            "PostgreSQL needs a driver that is not installed: pip install 'agent-access-manager[postgres]'",
        )
    return place


def _check_place(findings: Findings, document: Document, connector: Connector) -> None:
    """Check that the document says where the service is, and what of it is used."""
    spec: ConnectorDocument = document.spec
    if spec.process is not None and not connector.processes:
        findings.wrong(document, ("spec", "process"), f"a {spec.type} service is no program; name its 'url'")
    elif spec.process is not None and spec.url is not None:
        findings.wrong(document, ("spec", "url"), "a service is a program or has a URL; name one of them")
    elif spec.process is None and spec.url is None:
        findings.wrong(document, ("spec",), "'url' is missing")
    if not spec.resources and not connector.discovers and connector.models is None:
        if "resources" in spec.model_fields_set:
            findings.wrong(document, ("spec", "resources"), "should name at least 1 resource")
        else:
            findings.wrong(document, ("spec",), "'resources' is missing")


def _beside(findings: Findings, document: Document, name: str) -> Path:
    return findings.files.directory / findings.files.place(document.source.file, name)


def _snapshot(findings: Findings, document: Document, file: Path | None) -> Any:
    """Return the pinned snapshot, or None if there is none yet: it is fetched by a broker that is already running."""
    name = document.spec.snapshot
    if file is None:
        return None
    place = ("spec", "snapshot")
    if not findings.files.is_there(document.source.file, name):
        findings.files.digests[findings.files.place(document.source.file, name)] = None  # it is watched for
        findings.warn(
            document, place, f"{name} is not there yet: fetch it with 'aam connector snapshot {document.name}'"
        )
        return None
    text = findings.named(document, place, name)
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        findings.wrong(document, place, f"{name} is not JSON: {error}")
        return None


def _tools(findings: Findings, document: Document, connection: Connection) -> list[CatalogTool]:
    try:
        offered = connection.connector.tools(connection.document, connection.snapshot)
        tools = [catalog_tool(document.name, tool) for tool in offered]
    except ValueError as error:
        findings.wrong(document, ("spec",), str(error))
        findings.break_off(document)
        return []
    except Exception as error:  # noqa: BLE001 - the connector's own mistake is not to end the broker that loads it
        findings.wrong(document, ("spec", "type"), f"the connector failed to list its tools: {type(error).__name__}")
        findings.break_off(document)
        return []
    built = {tool.resource for tool in tools if tool.tool.run is not None}
    pinned = value_at(connection.snapshot, ("objects",))  # by the service's own names, if the snapshot has such
    for name, wanted in connection.document.resources.items():
        if f"{document.name}.{name}" not in built and connection.snapshot is not None:
            meant = closest(wanted, pinned) if isinstance(pinned, dict) and wanted not in pinned else None
            findings.warn(
                document,
                ("spec", "resources", name),
                f"nothing can be done with it yet: fetch its description with 'aam connector snapshot {document.name}'"
                + (f"; did you mean {meant!r}?" if meant else ""),
            )
    return tools
