"""The check of a whole set of documents: each against its kind, and all against each other; no network."""

from pathlib import Path

from broker.connector.installed import find_connector
from broker.documents.agents import Operators, check_operators, check_registry
from broker.documents.announcing import check_announcing
from broker.documents.budgets import check_budgets
from broker.documents.certificates import check_certificates
from broker.documents.connections import check_connections
from broker.documents.files import SetFiles, set_digest
from broker.documents.findings import Findings
from broker.documents.issuers import check_issuers
from broker.documents.listen import check_listeners
from broker.documents.memory import Memory
from broker.documents.outline import outline
from broker.documents.parse import Document
from broker.documents.policies import check_policies
from broker.documents.routes import check_routes
from broker.documents.sign_in import check_sign_in
from broker.documents.sinks import check_sinks
from broker.documents.snapshot import FindConnector, Invalid, Snapshot
from broker.documents.source import Problem
from broker.documents.trust import check_trust
from broker.policy import NO_POLICIES


def load(
    directory: Path,
    find: FindConnector = find_connector,
    *,
    operators_in_force: Operators | None = None,
    files: SetFiles | None = None,
    memory: Memory | None = None,
) -> Snapshot:
    """Load and check a whole set of documents without any network; raise `Invalid` with every mistake at once.

    `operators_in_force` are those of a running broker: they stay until it restarts, whatever the documents now say, so
    no agent may be one of them either. `files` stands in for what lies in the directory; `memory` knows what was read
    of it before.
    """
    # 1. Each document by itself.
    findings = Findings(files or SetFiles(directory), memory)
    broker = _broker(findings, directory)
    check_listeners(findings)
    sinks = check_sinks(findings, broker, directory)
    announcing = check_announcing(findings, broker)
    sign_in = check_sign_in(findings, broker)

    # 2. Who calls, and who is asked: trust domains, operators, agents, and the issuers whose tokens stand for them.
    domains, sources = check_trust(findings)
    operators = check_operators(findings, broker) if broker else {}
    if broker is not None:
        check_certificates(findings, broker, domains)
    registry = check_registry(findings, domains, {**operators, **(operators_in_force or {})})
    issuers, issuer_sources = check_issuers(findings, registry, broker, directory)

    # 3. What there is to call, and who may.
    connections, catalog = check_connections(findings, find)
    routes = check_routes(findings, connections)
    policies, names = check_policies(findings, registry, catalog, routes)
    allowances = check_budgets(findings, registry)

    # 4. All of it, or nothing.
    digests = findings.files.digests
    if findings.errors or broker is None:
        raise Invalid(findings.errors, warnings=findings.warnings, digests=digests)
    return Snapshot(
        directory=directory,
        base=(directory / broker.source.file).parent,
        digest=set_digest(digests),
        digests=digests,
        contents=findings.files.contents,
        outline=outline(findings.documents),
        broker=broker.spec,
        broker_name=broker.name,
        sinks=sinks,
        announcing=announcing,
        sign_in=sign_in,
        trust_domains=domains,
        trust_sources=sources,
        issuers=issuers,
        issuer_sources=issuer_sources,
        registry=registry,
        policies=policies,
        policy_names=names,
        allowances=allowances,
        connections=connections,
        catalog=catalog,
        routes=routes,
        visible={
            workload: catalog.visible(policies.get(workload, NO_POLICIES).could_permit) for workload in registry.agents
        },
        operators=operators,
        warnings=tuple(findings.warnings),
    )


def _broker(findings: Findings, directory: Path) -> Document | None:
    brokers = findings.of("Broker")
    if not brokers and not findings.mistaken("Broker"):
        findings.report([Problem(str(directory), 1, "", "there is no Broker document")])
    for extra in brokers[1:]:
        findings.wrong(extra, ("kind",), f"there is exactly one Broker; the first is in {brokers[0].source.file}")
    return brokers[0] if brokers else None
