"""The check of a whole set of documents: each against its kind, and all against each other; no network."""

import hashlib
import ipaddress
import json
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from broker.catalog import Catalog, CatalogTool, catalog_tool
from broker.connector import ConnectorDocument
from broker.connector.installed import find_connector, installed_types
from broker.documents.parse import Document, nearest, parse
from broker.documents.snapshot import Connection, FindConnector, Invalid, Snapshot, TrustSource
from broker.documents.source import LARGEST_FILE, Problem, read_sources, yaml_files
from broker.egress import Reach
from broker.identity import Agent, Registry, TrustDomain, parse_bundle
from broker.identity.registry import AgentDocument, BundleSource
from broker.policy import NO_POLICIES, AgentPolicies, AgentPolicyDocument


def read_files(directory: Path) -> dict[str, bytes]:
    """Read every YAML file of a set; names are relative to the directory. Raises `OSError`."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in yaml_files(directory)}


def load(directory: Path, find: FindConnector = find_connector) -> Snapshot:
    """Load and check a whole set of documents without any network; raise `Invalid` with every mistake at once."""
    try:
        files = read_files(directory)
    except OSError as error:
        raise Invalid([Problem(str(error.filename), 1, "", f"cannot be read: {error.strerror}")]) from None
    return _Check(directory, files, find).snapshot()


class _Check:
    """Collects what the documents say, and all that is wrong with it."""

    def __init__(self, directory: Path, files: Mapping[str, bytes], find: FindConnector) -> None:
        self._directory = directory
        self._find = find
        self._problems: list[Problem] = []
        self._files = {name: hashlib.sha256(text).hexdigest() for name, text in files.items()}
        self._documents = [document for name, text in files.items() for document in self._parsed(text, name)]

    def snapshot(self) -> Snapshot:
        self._names_are_unique()
        broker = self._broker()
        domains, sources = self._trust()
        operators = self._operators(broker)
        registry = self._registry(domains, operators)
        connections, catalog = self._connections()
        policies, names = self._policies(registry, catalog)
        errors = sorted({problem for problem in self._problems if problem.severity == "error"})
        if errors or broker is None:
            raise Invalid(errors)
        return Snapshot(
            directory=self._directory,
            base=(self._directory / broker.source.file).parent,
            digest=hashlib.sha256(json.dumps(self._files, sort_keys=True).encode()).hexdigest(),
            files=self._files,
            broker=broker.spec,
            broker_name=broker.name,
            trust_domains=domains,
            trust_sources=sources,
            registry=registry,
            policies=policies,
            policy_names=names,
            connections=connections,
            catalog=catalog,
            visible={
                workload: catalog.visible(policies.get(workload, NO_POLICIES).could_permit)
                for workload in registry.agents
            },
            operators=operators,
            warnings=tuple(sorted({problem for problem in self._problems if problem.severity == "warning"})),
        )

    def _parsed(self, text: bytes, name: str) -> Iterator[Document]:
        for source in read_sources(text, name):
            if isinstance(source, Problem):
                self._problems.append(source)
            elif isinstance(result := parse(source), Document):
                yield result
            else:
                self._problems += result

    def _of(self, kind: str) -> list[Document]:
        return [document for document in self._documents if document.kind == kind]

    def _wrong(self, document: Document, path: tuple[str | int, ...], message: str) -> None:
        self._problems.append(document.source.problem(path, message))

    def _warn(self, document: Document, path: tuple[str | int, ...], message: str) -> None:
        self._problems.append(document.source.problem(path, message, "warning"))

    def _names_are_unique(self) -> None:
        seen: dict[tuple[str, str], Document] = {}
        for document in self._documents:
            first = seen.setdefault((document.kind, document.name), document)
            if first is not document:
                place = f"{first.source.file}:{first.source.line(('metadata', 'name'))}"
                self._wrong(document, ("metadata", "name"), f"another {document.kind} has this name, at {place}")

    def _broker(self) -> Document | None:
        brokers = self._of("Broker")
        if not brokers and not any(problem.severity == "error" for problem in self._problems):
            self._problems.append(Problem(str(self._directory), 1, "", "there is no Broker document"))
        for extra in brokers[1:]:
            self._wrong(extra, ("kind",), f"there is exactly one Broker; the first is in {brokers[0].source.file}")
        return brokers[0] if brokers else None

    def _trust(self) -> tuple[dict[str, TrustDomain], dict[str, TrustSource]]:
        domains, sources = {}, {}
        for document in self._of("TrustDomain"):
            spec = document.spec
            domains[document.name] = TrustDomain(
                document.name, spec.environment, spec.development, float(spec.longest_lifetime_seconds)
            )
            if "." not in document.name and not spec.development:
                self._warn(
                    document,
                    ("metadata", "name"),
                    "a trust domain without a dot collides with others' and can then never be federated "
                    "(SPIFFE-ID §2.1.1)",
                )
            if source := self._trust_source(document, spec.bundle):
                sources[document.name] = source
        return domains, sources

    def _trust_source(self, document: Document, source: BundleSource) -> TrustSource | None:
        path = ("spec", "bundle")
        bundle = None
        if source.file is not None:
            text = self._beside(document, (*path, "file"), source.file)
            if text is None:
                return None
            try:
                bundle = parse_bundle(document.name, text)
            except ValueError as error:
                self._wrong(document, (*path, "file"), str(error))
                return None
            if not bundle.keys:
                self._warn(document, (*path, "file"), "no key in it is usable: every identity of the domain is revoked")
        private = self._networks(document, (*path, "private_ranges"), source.private_ranges)
        authority = self._authority(document, (*path, "certificate_authority"), source.certificate_authority)
        return TrustSource(bundle, source.url, authority, private, source.stale_after_hours * 3600)

    def _operators(self, broker: Document | None) -> dict[int, tuple[str, str]]:
        found: dict[int, tuple[str, str]] = {}
        for number, operator in enumerate(broker.spec.operators if broker else ()):
            path = ("spec", "operators", number, "user")
            uid = _user_id(operator.user)
            if uid is None:
                self._warn(broker, path, f"there is no user {operator.user!r} on this machine")  # type: ignore[arg-type]
            elif uid in found:
                self._wrong(broker, path, f"{operator.user!r} is an operator already, as {found[uid][1]}")  # type: ignore[arg-type]
            else:
                found[uid] = (operator.user, operator.role)
        return found

    def _registry(self, domains: Mapping[str, TrustDomain], operators: Mapping[int, tuple[str, str]]) -> Registry:
        agents: dict[str, Agent] = {}
        for document in self._of("Agent"):
            spec: AgentDocument = document.spec
            name = spec.workload.removeprefix("spiffe://").partition("/")[0]
            domain = domains.get(name)
            if domain is None:
                self._wrong(document, ("spec", "workload"), f"there is no TrustDomain {name!r}{nearest(name, domains)}")
            elif domain.environment != spec.environment:
                self._wrong(
                    document,
                    ("spec", "environment"),
                    f"{spec.environment!r}, but its trust domain {name!r} is {domain.environment!r}",
                )
            if spec.workload in agents:
                self._wrong(document, ("spec", "workload"), f"is registered already, as {agents[spec.workload].name!r}")
                continue
            self._not_an_operator(document, spec, operators, development=domain is not None and domain.development)
            agents[spec.workload] = Agent(
                document.name,
                spec.workload,
                spec.owner,
                spec.team,
                spec.environment,
                spec.deployment,
                spec.status,
                spec.valid_until,
                frozenset(spec.selectors),
            )
        return Registry(agents.values())

    def _not_an_operator(
        self, document: Document, spec: AgentDocument, operators: Mapping[int, tuple[str, str]], *, development: bool
    ) -> None:
        for number, selector in enumerate(spec.selectors):
            _, kind, value = selector.split(":", 2)
            uid = int(value) if kind == "uid" else _user_id(value) if kind == "user" else None
            if uid is not None and uid in operators:
                note = self._warn if development else self._wrong
                note(
                    document,
                    ("spec", "selectors", number),
                    f"user {operators[uid][0]!r} is an operator: a process of theirs could pass for this agent"
                    + (" (allowed in a development trust domain only)" if development else ""),
                )

    def _connections(self) -> tuple[dict[str, Connection], Catalog]:
        connections: dict[str, Connection] = {}
        tools: dict[str, CatalogTool] = {}
        for document in self._of("Connector"):
            if connection := self._connection(document):
                connections[document.name] = connection
                for tool in self._tools(document, connection):
                    if tool.name in tools:
                        other = tools[tool.name]
                        self._wrong(
                            document,
                            ("spec", "resources"),
                            f"{tool.resource} {tool.action} and {other.resource} {other.action} "
                            f"would both be the tool {tool.name}",
                        )
                    tools[tool.name] = tool
        return connections, Catalog(tools.values())

    def _connection(self, document: Document) -> Connection | None:
        spec: ConnectorDocument = document.spec
        try:
            connector = self._find(spec.type)
        except LookupError:
            self._wrong(document, ("spec", "type"), f"no connector {spec.type!r} is installed{_offered(spec.type)}")
            return None
        except (TypeError, ImportError) as error:
            self._wrong(document, ("spec", "type"), f"the connector {spec.type!r} cannot be loaded: {error}")
            return None
        try:
            connector.settings.model_validate(spec.settings)
        except ValidationError as error:
            for details in error.errors():
                self._wrong(document, ("spec", "settings", *details["loc"]), str(details["msg"]))
        host = spec.url.removeprefix("https://").split("/")[0].lower()
        reach = Reach(
            frozenset({host, *connector.hosts, *spec.reach.hosts}),
            self._networks(document, ("spec", "reach", "private_ranges"), spec.reach.private_ranges),
        )
        authority = self._authority(
            document, ("spec", "reach", "certificate_authority"), spec.reach.certificate_authority
        )
        snapshot_file, snapshot = None, None
        if spec.snapshot is not None:
            snapshot_file = (self._directory / document.source.file).parent / spec.snapshot
            text = self._beside(document, ("spec", "snapshot"), spec.snapshot)
            try:
                snapshot = None if text is None else json.loads(text)
            except (ValueError, RecursionError) as error:
                self._wrong(document, ("spec", "snapshot"), f"{spec.snapshot} is not JSON: {error}")
        return Connection(
            document.name, connector, spec, reach, spec.limits.limits(), authority, snapshot_file, snapshot
        )

    def _tools(self, document: Document, connection: Connection) -> list[CatalogTool]:
        if connection.document.snapshot is not None and connection.snapshot is None:
            return []  # said already
        try:
            return [
                catalog_tool(document.name, tool)
                for tool in connection.connector.tools(connection.document, connection.snapshot)
            ]
        except ValueError as error:
            self._wrong(document, ("spec",), str(error))
            return []

    def _policies(
        self, registry: Registry, catalog: Catalog
    ) -> tuple[dict[str, AgentPolicies], dict[str, tuple[str, ...]]]:
        collected: dict[str, list[tuple[str, str, AgentPolicyDocument]]] = {}
        for document in self._of("AgentPolicy"):
            spec: AgentPolicyDocument = document.spec
            workload = spec.identity.workload
            if workload not in registry.agents:
                self._warn(
                    document,
                    ("spec", "identity", "workload"),
                    f"no agent is registered for it{nearest(workload, registry.agents)}",
                )
            for number, model in enumerate(spec.models.allow):
                self._warn(document, ("spec", "models", "allow", number), f"{model!r} has no ModelRoute yet")
            self._rules(document, spec, catalog)
            collected.setdefault(workload, []).append((document.name, document.source.digest, spec))
        return (
            {workload: AgentPolicies(policies) for workload, policies in collected.items()},
            {workload: tuple(sorted(name for name, _, _ in policies)) for workload, policies in collected.items()},
        )

    def _rules(self, document: Document, spec: AgentPolicyDocument, catalog: Catalog) -> None:
        for number, rule in enumerate(spec.tools):
            path = ("spec", "tools", number)
            offered = catalog.actions(rule.resource)
            if not offered:
                self._wrong(
                    document,
                    (*path, "resource"),
                    f"no connector offers {rule.resource!r}{nearest(rule.resource, catalog.resources)}",
                )
                continue
            for part, actions in (("actions", rule.actions), ("deny", rule.deny)):
                for place, action in enumerate(actions):
                    if action not in offered:
                        self._wrong(
                            document,
                            (*path, part, place),
                            f"{rule.resource} offers no {action!r}{nearest(action, offered)}",
                        )

    def _beside(self, document: Document, path: tuple[str | int, ...], name: str) -> bytes | None:
        """Read a file that a document names; its content counts in the set's digest."""
        file = (self._directory / document.source.file).parent / name
        try:
            if file.stat().st_size > LARGEST_FILE:
                raise OSError(None, f"it is larger than {LARGEST_FILE} bytes")
            text = file.read_bytes()
        except OSError as error:
            self._wrong(document, path, f"{name} cannot be read: {error.strerror}")
            return None
        self._files[str(Path(document.source.file).parent / name)] = hashlib.sha256(text).hexdigest()
        return text

    def _authority(self, document: Document, path: tuple[str | int, ...], name: str | None) -> str | None:
        if name is None:
            return None
        text = self._beside(document, path, name)
        if text is not None and b"-----BEGIN CERTIFICATE-----" not in text:
            self._wrong(document, path, f"{name} holds no certificate in PEM form")
            return None
        return None if text is None else text.decode("ascii", "replace")

    def _networks(
        self, document: Document, path: tuple[str | int, ...], ranges: list[str]
    ) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        found = []
        for number, text in enumerate(ranges):
            try:
                found.append(ipaddress.ip_network(text))
            except ValueError as error:
                self._wrong(document, (*path, number), str(error))
        return tuple(found)


def _user_id(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return int(user) if user.isdigit() else None


def _offered(name: str) -> str:
    return nearest(name, installed_types())
