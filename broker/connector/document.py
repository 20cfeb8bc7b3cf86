"""A Connector document's spec: where its service is, how it is reached, and how grants are used there."""

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from broker.connector.process import ProcessDocument
from broker.egress import Limits

FileName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", examples=["data/file"])]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", examples=["accounts"])]
Host = Annotated[
    str,
    Field(
        pattern=r"^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$", examples=["*.example.com", "localhost:8443"]
    ),
]
HttpsUrl = Annotated[
    str,
    # a name or an IPv4 address, as egress pins it; no user, query or fragment
    Field(
        pattern=r"^https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?$",
        examples=["https://example.my.salesforce.com"],
    ),
]
PlainUrl = Annotated[
    str,
    # an address of this machine and its port, so that nothing but the document decides what is called without TLS
    Field(
        pattern=r"^http://127(\.[0-9]{1,3}){3}:[0-9]{1,5}(/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?$",
        examples=["http://127.0.0.1:11434/v1"],
    ),
]
DatabaseUrl = Annotated[
    str,
    Field(
        pattern=(
            r"^(postgresql://[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?/[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"
            r"(\?sslmode=(verify-full|disable))?|sqlite:[A-Za-z0-9._~/-]{1,400})$"
        ),
        examples=["postgresql://db.example.com/crm", "sqlite:data/crm.db"],
    ),
]
SnapshotName = Annotated[
    str, Field(pattern=r"^[^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f]\.json$", examples=["salesforce.snapshot.json"])
]


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


class ReachDocument(BaseModel):
    """Where this connector's calls may go, beyond the hosts that the connector itself names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: list[Host] = Field(default_factory=list, description="Further hosts, as host, host:port or *.domain.")
    private_ranges: list[Annotated[str, AfterValidator(_network)]] = Field(
        default_factory=list, description="Private address ranges that the hosts may resolve to; none unless named."
    )
    certificate_authority: FileName | None = Field(
        default=None, description="PEM file, beside the documents, that replaces the system's trust for this connector."
    )
    plain_http: bool = Field(
        default=False,
        description="Whether a service on this machine may be called without TLS: whoever listens at its port gets the "
        "credential.",
    )


class RetriesDocument(BaseModel):
    """How calls that only read are tried again where the service fails; a write never is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most: Annotated[int, Field(ge=0, le=5)] = Field(default=0, description="How many times at most, after the first.")
    first_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        default=0.5, description="The wait before the second time; it doubles, and is up to a half shorter by chance."
    )
    longest_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        default=10.0, description="The longest wait; where the service asks for a longer one, the call ends."
    )


class BreakerDocument(BaseModel):
    """When a service that fails is left alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=10, description="After how many failures in a row: no connection, no answer in time, or an error (5xx)."
    )
    open_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=30.0, description="For how long; then one call finds out whether it is well again."
    )


class LimitsDocument(BaseModel):
    """Caps on this connector's calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    total_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    request_bytes: Annotated[int, Field(gt=0, le=64 << 20)] = 1 << 20
    response_bytes: Annotated[int, Field(gt=0, le=64 << 20)] = 4 << 20
    connections: Annotated[int, Field(gt=0, le=1000)] = 100
    reserve: Annotated[int, Field(ge=0)] = Field(
        default=0, description="How many of the requests that the service allows are left to others."
    )
    calls_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="How many calls may be begun in any minute; each time that one is tried counts."
    )
    calls_at_once: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="How many calls may run at a time."
    )
    retries: RetriesDocument = Field(default_factory=RetriesDocument)
    breaker: BreakerDocument = Field(default_factory=BreakerDocument)

    def limits(self) -> Limits:
        """Return them as egress takes them."""
        return Limits(
            self.connect_seconds, self.total_seconds, self.request_bytes, self.response_bytes, self.connections
        )


GrantKind = Literal[
    "jwt-bearer", "client-credentials", "authorization-code", "token-exchange", "id-jag", "api-key", "basic"
]
ScopeName = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,200}$", examples=["api"])]  # RFC 6749 §3.3


class ApiKeyDocument(BaseModel):
    """How an API key is sent, where that is not as `Authorization: KEY`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$", examples=["X-Api-Key"])] = "Authorization"
    prefix: Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,32}$", examples=["Bearer "])] = Field(
        default="", description="What stands before the key, as 'Bearer '."
    )


class GrantsDocument(BaseModel):
    """Which grants this connector takes, and whose a call uses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: list[GrantKind] | None = Field(
        default=None,
        description="The kinds of grants; without it, those that the connector names. An empty list says that the "
        "service asks for no credential.",
    )
    accounts: Literal["organisation", "person", "either"] | None = Field(
        default=None,
        description="Whose account a call uses. 'either' takes the account of the person on whose behalf the agent "
        "acts, and the organisation's where it acts on nobody's; it is the default where people can consent.",
    )
    api_key: ApiKeyDocument = Field(default_factory=ApiKeyDocument)


class OAuthDocument(BaseModel):
    """Where tokens come from, where it differs from what the connector knows. Names are those of RFC 8414."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_endpoint: HttpsUrl | None = None
    revocation_endpoint: HttpsUrl | None = None
    audience: HttpsUrl | None = Field(default=None, description="The `aud` of assertions.")
    authorization_endpoint: HttpsUrl | None = Field(default=None, description="Where people are sent to consent.")
    issuer: HttpsUrl | None = Field(default=None, description="What the authorization server calls itself.")
    authorization_response_iss_parameter_supported: bool = Field(
        default=False, description="Whether its answers to browsers always name the issuer (RFC 9207)."
    )
    scopes: list[ScopeName] = Field(default_factory=list, description="What is asked for where somebody consents.")
    resource: HttpsUrl | None = Field(
        default=None, description="What tokens are for (RFC 8707); MCP servers ask for it."
    )
    identity_provider: HttpsUrl | None = Field(
        default=None, description="The token endpoint at which an identity is exchanged for an ID-JAG."
    )
    client_audience: HttpsUrl | None = Field(
        default=None,
        description="The `aud` of what the client signs for private_key_jwt and jwt_spiffe; without it, the issuer, or "
        "the token endpoint where no issuer is named. Some authorization servers take only one of the two.",
    )
    client_svid: FileName | None = Field(
        default=None,
        description="A file with the broker's own JWT-SVID, read for each use: for jwt_spiffe, and as the actor.",
    )


class ConnectorDocument(BaseModel):
    """`spec` of a `Connector` document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")] = Field(
        description="Which connector this is: the name it is installed under.", examples=["salesforce"]
    )
    url: HttpsUrl | PlainUrl | DatabaseUrl | None = Field(
        default=None,
        description="The one URL under which the service is called: https, http at an address of this machine (with "
        "'reach.plain_http'), or that of a database. A program has none.",
    )
    process: ProcessDocument | None = Field(
        default=None, description="The program that is the service, where it is one on this machine."
    )
    resources: dict[Name, Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict,
        description="What policies call a resource, and what the service calls it. Only connectors whose snapshot "
        "says what there is can do without; a service of models has none.",
    )
    snapshot: SnapshotName | None = Field(
        default=None,
        description="The pinned snapshot, a JSON file beside this document: 'aam connector snapshot' writes it.",
    )
    oauth: OAuthDocument = Field(default_factory=OAuthDocument)
    grants: GrantsDocument = Field(default_factory=GrantsDocument)
    reach: ReachDocument = Field(default_factory=ReachDocument)
    limits: LimitsDocument = Field(default_factory=LimitsDocument)
    settings: dict[str, Any] = Field(default_factory=dict, description="What only this type of connector knows.")

    @property
    def dialect(self) -> Literal["postgres", "sqlite"] | None:
        """Whose SQL is spoken at the URL; None where it is no database's."""
        scheme = (self.url or "").partition(":")[0]
        return {"postgresql": "postgres", "sqlite": "sqlite"}.get(scheme)  # type: ignore[return-value] # one of these
