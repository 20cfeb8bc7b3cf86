"""The documents as one checked, immutable whole: what every call of a moment is decided by."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from broker.catalog import Catalog, CatalogTool
from broker.connector import ApiKeyDocument, Connector, ConnectorDocument
from broker.documents.files import NO_DIGESTS, Contents, Digests
from broker.documents.models import BrokerDocument
from broker.documents.outline import Outline
from broker.documents.source import Problem
from broker.egress import Limits, Reach
from broker.egress.database import DatabasePlace
from broker.errors import DocumentsInvalid
from broker.identity import BundleServer, Endpoint, Issuers, Registry, TrustBundle, TrustDomain
from broker.models import Route
from broker.policy import NO_CAPS, NO_POLICIES, AgentPolicies, Allowance, Cap

FindConnector = Callable[[str], Connector]


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """A configured connector: the service that one `Connector` document describes."""

    name: str
    connector: Connector
    document: ConnectorDocument
    reach: Reach
    limits: Limits
    authority: str | None
    snapshot_file: Path | None
    snapshot: Any
    svid_file: Path | None = None
    file: str = ""
    """The file of its document, by its name in the set."""
    database: DatabasePlace | None = None

    @property
    def url(self) -> str:
        """The one URL under which it is called; of a program, its name, which nothing can call."""
        program = self.document.process
        return self.document.url or f"program:{'' if program is None else PurePosixPath(program.command[0]).name}"

    @property
    def undescribed(self) -> bool:
        """Whether nobody knows yet which resources there are: its snapshot will say."""
        return self.snapshot is None and self.connector.discovers

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of grants that it takes; a file takes none."""
        if self.document.dialect == "sqlite":
            return ()
        named = self.document.grants.kinds
        return tuple(named if named is not None else (self.connector.grant, *self.connector.further_grants))

    @property
    def api_key(self) -> ApiKeyDocument:
        """How an API key is sent: as the document says, or else as the service has it."""
        grants = self.document.grants
        return grants.api_key if "api_key" in grants.model_fields_set else self.connector.api_key

    @property
    def accounts(self) -> Literal["organisation", "person", "either"]:
        """Whose account a call uses: where people can consent, the person's on whose behalf the agent acts."""
        return self.document.grants.accounts or ("either" if "authorization-code" in self.kinds else "organisation")

    @property
    def authorization_endpoint(self) -> str | None:
        """Where people are sent to consent. That of another authorization server is none of the connector's own's."""
        oauth = self.document.oauth
        if oauth.token_endpoint is not None or oauth.authorization_endpoint is not None:
            return oauth.authorization_endpoint
        return self.connector.endpoints.authorization_endpoint

    @property
    def token_endpoint(self) -> str:
        """Where its tokens come from."""
        return self.document.oauth.token_endpoint or self.connector.endpoints.token_endpoint

    @property
    def revocation_endpoint(self) -> str | None:
        """Where its tokens are revoked. A token of another authorisation server is none of the connector's own's."""
        oauth = self.document.oauth
        if oauth.token_endpoint is not None or oauth.revocation_endpoint is not None:
            return oauth.revocation_endpoint
        return self.connector.endpoints.revocation_endpoint

    @property
    def audience(self) -> str:
        """The audience of assertions made for its token endpoint."""
        return self.document.oauth.audience or self.connector.endpoints.audience or self.token_endpoint


@dataclass(frozen=True, slots=True)
class TrustSource:
    """Where a trust domain's bundle comes from: the bundle itself, a URL with what is needed, or the Workload API."""

    bundle: TrustBundle | None
    url: str | None
    authority: str | None
    private: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    stale_after: float
    server: BundleServer | None = None
    workload_api: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is asked who somebody is: its URL, and what is needed to reach it."""

    url: str
    hosts: frozenset[str]
    authority: str | None
    private: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class IssuerSource:
    """Where an issuer's keys come from, and which API server vouches for its tokens."""

    keys: TrustBundle | None
    """From a file; nothing is fetched then."""
    key_server: Server | None
    key_url: str | None
    stale_after: float
    review_server: Server | None
    token_file: Path | None


@dataclass(frozen=True, slots=True)
class SinkSource:
    """Where signed heads are kept besides: a file, or a URL with what is needed to reach it."""

    name: str
    file: Path | None
    url: str | None = None
    authority: str | None = None
    private: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Announcing:
    """How webhooks are reached: which private ranges, and the authority of their certificates if not a public one."""

    private: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    authority: str | None = None

    def reach(self, url: str) -> Reach:
        """Return what a webhook may reach: its own host."""
        return Reach(frozenset({urlsplit(url).netloc.lower()}), self.private)


@dataclass(frozen=True, slots=True)
class SignInSource:
    """An identity provider at which people sign in, with what is needed to reach it."""

    issuer: str
    client_id: str
    authorization_endpoint: str
    token_endpoint: str
    reach: Reach
    authority: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One checked set of documents. `digest` covers every file that it was read from; `digests` has each one's."""

    directory: Path
    base: Path
    """The Broker document's directory: its relative paths start here."""
    digest: str
    digests: Digests
    contents: Contents = field(repr=False)
    """What it was checked from, until that is in the history."""
    outline: Outline
    """The digest of what each document says, by kind and name."""
    broker: BrokerDocument
    broker_name: str
    sinks: tuple[SinkSource, ...]
    announcing: Announcing
    sign_in: Mapping[str, SignInSource]
    """Where people sign in before they consent, by issuer."""
    trust_domains: Mapping[str, TrustDomain]
    trust_sources: Mapping[str, TrustSource]
    issuers: Issuers
    issuer_sources: Mapping[str, IssuerSource]
    """By the issuers' URLs."""
    registry: Registry
    policies: Mapping[str, AgentPolicies]
    policy_names: Mapping[str, tuple[str, ...]]
    allowances: Mapping[str, Allowance]
    """What the model calls of each registered agent are capped by, by workload."""
    connections: Mapping[str, Connection]
    catalog: Catalog
    routes: Mapping[str, Route]
    """The models, by the names that agents call them."""
    visible: Mapping[str, tuple[CatalogTool, ...]]
    """What each registered agent may list, by workload."""
    operators: Mapping[int, tuple[str, str]]
    """(user, role) by user id."""
    warnings: tuple[Problem, ...]

    @property
    def files(self) -> Mapping[str, str]:
        """The SHA-256 of every file that was read, by its name in the set."""
        return {name: digest for name, digest in self.digests.items() if digest is not None}

    def policies_of(self, workload: str) -> AgentPolicies:
        """Return the policies of a workload; none permit nothing."""
        return self.policies.get(workload, NO_POLICIES)

    def allowance_of(self, workload: str) -> Allowance:
        """Return what the model calls of a workload are capped by."""
        return self.allowances.get(workload, NO_CAPS)

    @property
    def budgets(self) -> tuple[Cap, ...]:
        """Every cap on money that some agent is under, each once."""
        every = {cap.key: cap for one in self.allowances.values() for cap in one.caps if cap.unit == "nano_usd"}
        return tuple(every[key] for key in sorted(every))


class Invalid(DocumentsInvalid):
    """The documents have mistakes; 'aam check DIR' lists them all."""

    def __init__(
        self, problems: list[Problem], *, warnings: Sequence[Problem] = (), digests: Digests = NO_DIGESTS
    ) -> None:
        super().__init__(
            f"The documents have {len(problems)} mistake{'s' * (len(problems) != 1)}; 'aam check DIR' lists them all.",
            detail="; ".join(map(str, problems[:20])),
        )
        self.problems = problems
        self.warnings = warnings
        self.digests = digests
