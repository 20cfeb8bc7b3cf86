"""What each kind of document may hold."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from broker.connector import ConnectorDocument, FileName
from broker.identity import AgentDocument, IssuerDocument, TrustDomainDocument
from broker.models import ModelRouteDocument
from broker.policy import AgentPolicyDocument, BudgetDocument

API_VERSION = "access.envisionai.dev/v1"
Role = Literal["admin", "approver", "auditor"]


_LARGEST_PORT = 65535
_SINK_NAME = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _listener(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        address = None
    if address is None or not (port.isascii() and port.isdecimal() and int(port) <= _LARGEST_PORT):
        raise ValueError("must be an address and a port, for example 127.0.0.1:8470 or [::1]:8470")
    return text


def _is_loopback(listener: str) -> bool:
    return ipaddress.ip_address(listener.rpartition(":")[0].strip("[]")).is_loopback


class TlsPart(_Part):
    """The certificate (with its chain) and the private key, as PEM files."""

    certificate: FileName
    key: FileName


class ProxyPart(_Part):
    """A listener for the proxy that ends mutual TLS and forwards callers' certificates (X-Forwarded-Client-Cert).

    Whoever else reaches it could pass for any agent: a Unix socket takes connections of one user only; a loopback
    address takes them from every local process, so say that there is none but the proxy.
    """

    socket: FileName | None = None
    user: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="The proxy's user; nobody else's connection to the socket is taken."
    )
    http: Annotated[str, AfterValidator(_listener)] | None = None
    only_the_proxy_reaches_it: bool = Field(
        default=False, description="What must be true of 'http', and is nothing that the broker can see for itself."
    )
    uri_alone: bool = Field(
        default=False,
        description="Take the proxy's word for a SPIFFE ID where it forwards no certificate: assurance 'proxied'.",
    )

    @model_validator(mode="after")
    def _one(self) -> "ProxyPart":
        if (self.socket is None) == (self.http is None):
            raise ValueError("name either a socket or an http address")
        if self.socket is not None and self.user is None:
            raise ValueError("a socket needs 'user': the proxy's, whose connections alone are taken")
        if self.http is not None and not _is_loopback(self.http):
            raise ValueError("http must be a loopback address, for example 127.0.0.1:8471")
        if self.http is not None and not self.only_the_proxy_reaches_it:
            raise ValueError(
                "any local process reaches an http address, and could pass for any agent: use a socket, or say "
                "'only_the_proxy_reaches_it: true' where the network's namespace makes it so"
            )
        return self


class MetricsPart(_Part):
    """A listener for a monitoring system alone: GET /metrics, which tells of agents, models and what is spent.

    Any local process reaches a loopback address, agents too: whoever scrapes shows a token of its own.
    """

    http: Annotated[str, AfterValidator(_listener)] = Field(
        default="127.0.0.1:9464", description="address:port; beyond this machine it needs TLS."
    )
    token_file: FileName | None = Field(
        default=None, description="A file with the token, which whoever scrapes sends as 'Authorization: Bearer'."
    )
    tls: TlsPart | None = None
    only_monitoring_reaches_it: bool = Field(
        default=False,
        description="What must be true where there is no token, or no TLS beyond this machine; nobody can see it here.",
    )

    @model_validator(mode="after")
    def _protected(self) -> "MetricsPart":
        if self.only_monitoring_reaches_it:
            return self
        if self.token_file is None:
            raise ValueError(
                "any local process reaches the listener, agents too: name a 'token_file', or say "
                "'only_monitoring_reaches_it: true' where the network makes it so"
            )
        if self.tls is None and not _is_loopback(self.http):
            raise ValueError(
                "beyond this machine the token needs TLS: write 'tls' here, or say 'only_monitoring_reaches_it: true' "
                "where the network makes it so"
            )
        return self


class ListenPart(_Part):
    """Where agents and operators connect. Paths are relative to the Broker document."""

    http: Annotated[str, AfterValidator(_listener)] = Field(
        default="127.0.0.1:8470", description="address:port for SSE and Streamable HTTP; port 0 takes a free one."
    )
    tls: TlsPart | None = None
    client_certificates: bool = Field(
        default=False, description="Ask callers for an X.509-SVID in the TLS handshake (mutual TLS, TLS 1.3 only)."
    )
    proxy: ProxyPart | None = None
    metrics: MetricsPart | None = Field(
        default=None, description="Where Prometheus scrapes; without it, only operators read metrics: 'aam metrics'."
    )
    behind_tls_proxy: bool = Field(
        default=False, description="A proxy on this machine or network terminates TLS; only it may reach the listener."
    )
    hosts: list[Annotated[str, Field(pattern=r"^[^\s/@]+$", examples=["access.example.com:8470"])]] = Field(
        default_factory=list, description="Host headers to accept besides the listener's own, as host or host:port."
    )
    origins: list[Annotated[str, Field(pattern=r"^https?://[^\s/@]+$", examples=["https://app.example.com"])]] = Field(
        default_factory=list, description="Origin headers to accept, as https://host."
    )
    agents_socket: FileName = "run/agents.sock"
    operators_socket: FileName = "run/operators.sock"
    operators_group: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="A group whose members may reach the operators' socket; without it, only its owner."
    )


class FileKey(_Part):
    """A file that only the broker's user may read; systemd's `LoadCredential` makes one."""

    source: Literal["file"]
    path: FileName

    def where(self, base: Path) -> str:
        """Return the file's whole path."""
        return str(base / self.path)


class KeyringKey(_Part):
    """The operating system's keyring."""

    source: Literal["keyring"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", examples=["vault"])] = "vault"

    def where(self, _base: Path) -> str:
        """Return the name under which the keyring holds it."""
        return self.name


class EnvironmentKey(_Part):
    """An environment variable: whoever can read the process's environment can read it."""

    source: Literal["environment"]
    variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", examples=["AAM_VAULT_KEY"])] = "AAM_VAULT_KEY"

    def where(self, _base: Path) -> str:
        """Return the variable's name."""
        return self.variable


class Operator(_Part):
    """A person who may use the operators' socket: a user of this machine, and a role."""

    user: Annotated[str, Field(min_length=1)]
    role: Role


class CapsPart(_Part):
    """How much one caller may ask for."""

    request_bytes: Annotated[int, Field(ge=1024, le=64 << 20)] = 1 << 20
    argument_bytes: Annotated[int, Field(ge=64, le=16 << 20)] = 256 << 10
    result_bytes: Annotated[int, Field(ge=1024, le=64 << 20)] = 1 << 20
    calls_at_once: Annotated[int, Field(ge=1, le=10_000)] = 512
    calls_at_once_per_agent: Annotated[int, Field(ge=1, le=10_000)] = 128
    list_page: Annotated[int, Field(ge=1, le=1000)] = 200


class FileSink(_Part):
    """A file, on a disk that is not this machine's, that holds the newest signed head."""

    to: Literal["file"]
    name: Annotated[str, Field(pattern=_SINK_NAME, examples=["notary"])]
    path: FileName


class HttpsSink(_Part):
    """A place that keeps what is PUT there, and gives it back to a GET: the newest signed head."""

    to: Literal["https"]
    name: Annotated[str, Field(pattern=_SINK_NAME, examples=["second-site"])]
    url: Annotated[str, Field(pattern=r"^https://[^\s/@]+/[^\s]*$", examples=["https://heads.example.com/production"])]
    private_ranges: list[str] = Field(
        default_factory=list, description="Private address ranges that its host may resolve to, as 10.0.0.0/8."
    )
    certificate_authority: FileName | None = Field(
        default=None, description="A PEM file with the authority of its certificate, if that is not a public one."
    )


class TrailPart(_Part):
    """How often the trail's head is signed, and where signed heads are kept besides."""

    checkpoint_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=60, description="The head is signed so often while the trail grows, and shipped where 'ship' says."
    )
    ship: Annotated[list[Annotated[FileSink | HttpsSink, Field(discriminator="to")]], Field(max_length=10)] = Field(
        default_factory=list, description="Places off this machine that keep the newest signed head."
    )


class ApprovalsPart(_Part):
    """Where people decide what needs their approval, and how those are reached who tell them."""

    url: (
        Annotated[
            str,
            Field(
                pattern=r"^https?://[^\s/@{}]+/[^\s{}]*\{id\}[^\s{}]*$", examples=["https://chat.example.com/aam/{id}"]
            ),
        ]
        | None
    ) = Field(
        default=None, description="Where a person finds a request, with {id} for its id: a page or a channel of yours."
    )
    private_ranges: list[str] = Field(
        default_factory=list,
        description="Private address ranges that a policy's webhook may resolve to, as 10.0.0.0/8.",
    )
    certificate_authority: FileName | None = Field(
        default=None,
        description="A PEM file with the authority of webhooks' certificates, if that is not a public one.",
    )


_HTTPS = r"^https://[^\s/@?#]+(/[^\s?#]*)?$"


class SignInPart(_Part):
    """An identity provider at which a person signs in before they consent, so that the consent is theirs."""

    issuer: Annotated[str, Field(pattern=_HTTPS, examples=["https://idp.example.com"])] = Field(
        description="As it stands in the tokens that say on whose behalf an agent acts."
    )
    client_id: Annotated[str, Field(min_length=1, max_length=500)] = Field(
        description="A public client of the identity provider, with PKCE; its redirect URI ends in /consent/signed-in."
    )
    authorization_endpoint: Annotated[str, Field(pattern=_HTTPS, examples=["https://idp.example.com/authorize"])]
    token_endpoint: Annotated[str, Field(pattern=_HTTPS, examples=["https://idp.example.com/token"])]
    private_ranges: list[str] = Field(
        default_factory=list, description="Private address ranges that its host may resolve to, as 10.0.0.0/8."
    )
    certificate_authority: FileName | None = Field(
        default=None, description="A PEM file with the authority of its certificate, if that is not a public one."
    )


class ConsentPart(_Part):
    """How people connect accounts of their own: where their browsers reach this broker, and where they sign in."""

    url: Annotated[str, Field(pattern=r"^(https://[^\s/@?#]+|http://(localhost|127\.0\.0\.1)(:[0-9]+)?)$")] = Field(
        description="The broker's own address, as browsers reach it.", examples=["https://access.example.com"]
    )
    sign_in: Annotated[list[SignInPart], Field(max_length=20)] = Field(default_factory=list)


class BrokerDocument(_Part):
    """`spec` of the one `Broker` document."""

    log: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9./_-]{0,250}[a-z0-9])?$")] = Field(
        description="The name of the trail's log, as a URL without a scheme; it stays for the life of the store.",
        examples=["access.example.com/log/production"],
    )
    audience: Annotated[str, Field(pattern=r"^\S{1,500}$")] = Field(
        description="What tokens must be issued for: the URL of /mcp as agents reach it.",
        examples=["https://access.example.com/mcp"],
    )
    listen: ListenPart = Field(default_factory=ListenPart)
    store: FileName = "data/broker.db"
    key: Annotated[FileKey | KeyringKey | EnvironmentKey, Field(discriminator="source")]
    operators: Annotated[list[Operator], Field(min_length=1)]
    trail: TrailPart = Field(default_factory=TrailPart)
    consent: ConsentPart | None = Field(
        default=None, description="How people consent to the use of their own accounts; without it, nobody can."
    )
    caps: CapsPart = Field(default_factory=CapsPart)
    approvals: ApprovalsPart = Field(default_factory=ApprovalsPart)


class Metadata(_Part):
    """A document's name, unique within its kind, and words for its readers."""

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$", examples=["finance-analyst-readonly"])
    ]
    description: str | None = None


class ConnectorMetadata(_Part):
    """A connector's name, which begins its tools' names, and words for its readers."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", examples=["salesforce"])]
    description: str | None = None


class _Document(_Part):
    api_version: Literal["access.envisionai.dev/v1"] = Field(alias="apiVersion")
    metadata: Metadata


class Broker(_Document):
    """The broker itself; there is exactly one, and changes to it need a restart."""

    kind: Literal["Broker"]
    spec: BrokerDocument


class AgentPolicy(_Document):
    """What one workload may do."""

    kind: Literal["AgentPolicy"]
    spec: AgentPolicyDocument


class Agent(_Document):
    """One registered agent."""

    kind: Literal["Agent"]
    spec: AgentDocument


class TrustDomain(_Document):
    """A trust domain whose identities are accepted."""

    kind: Literal["TrustDomain"]
    spec: TrustDomainDocument


class Issuer(_Document):
    """An issuer of tokens, other than a trust domain, and whom its tokens stand for."""

    kind: Literal["Issuer"]
    spec: IssuerDocument


class Connector(_Document):
    """A service that agents may use through the broker."""

    metadata: ConnectorMetadata  # type: ignore[assignment] # stricter: the name must fit into tools' names
    kind: Literal["Connector"]
    spec: ConnectorDocument


class ModelRoute(_Document):
    """A model as agents know it, and the services that answer for it."""

    kind: Literal["ModelRoute"]
    spec: ModelRouteDocument


class Budget(_Document):
    """What all agents of a team, of an owner, or of everybody may spend on models together."""

    kind: Literal["Budget"]
    spec: BudgetDocument


KINDS: dict[str, type[_Document]] = {
    kind.__name__: kind for kind in (Broker, AgentPolicy, Agent, TrustDomain, Issuer, Connector, ModelRoute, Budget)
}


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind,
        **KINDS[kind].model_json_schema(by_alias=True),
    }
