"""What a connector is, for those who write one.

A connector is a value in one file: a name, the hosts that it may call, where the service's OAuth endpoints are, and
`tools(document, snapshot)`, which lists what can be done. A tool's function gets one `ToolCall` and a `Session` that is
already authorised; it never sees a token.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from broker import errors
from broker.connector.answers import checked, list_of, object_of, retry_after
from broker.connector.asking import USUAL_QUESTIONS, Question
from broker.connector.dialogue import Dialogue, NoDialogue
from broker.connector.models import APIS, INVOKE, MODELS, Api, ModelProvider
from broker.connector.process import ProcessDocument
from broker.egress import Limits, Process, Response, Session, Streamed
from broker.egress.database import DatabaseSession, Permitted, Rows

__all__ = [
    "APIS",
    "INVOKE",
    "MODELS",
    "WHOLE",
    "Api",
    "ApiKeyDocument",
    "BreakerDocument",
    "Comparison",
    "Connector",
    "ConnectorDocument",
    "Cursors",
    "DatabaseSession",
    "Dialogue",
    "Emit",
    "Endpoints",
    "GrantKind",
    "HttpsUrl",
    "LimitsDocument",
    "ModelProvider",
    "NoDialogue",
    "Permitted",
    "Process",
    "ProcessDocument",
    "Question",
    "Response",
    "Rows",
    "Scope",
    "Session",
    "Streamed",
    "Tool",
    "ToolCall",
    "Touch",
    "Touches",
    "Usage",
    "checked",
    "errors",
    "list_of",
    "object_of",
    "retry_after",
]

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
    url: HttpsUrl | DatabaseUrl | None = Field(
        default=None,
        description="The one URL under which the service is called: https, or that of a database. A program has none.",
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


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a service's OAuth endpoints are (RFC 8414 §2 names), and the audience of assertions made for them."""

    token_endpoint: str
    revocation_endpoint: str | None = None
    audience: str | None = None
    authorization_endpoint: str | None = None


Emit = Callable[[int, int | None], Coroutine[Any, Any, None]]
"""Takes progress as it comes: how many, of how many if that is known."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition on the service's records: `Owner.Email = 'jane@example.com'`; `value` is a list for `in`."""

    field: str
    operator: Literal["=", "!=", "<", "<=", ">", ">=", "in"]
    value: str | int | bool | list[str]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the decision narrows a call to. It must reach the service: what is outside is as if it were not there.

    `fields` are all that may leave, None where no rule narrows what the tool declares; `records` is the most that one
    call may return; `filters` must all be true of a record.
    """

    fields: frozenset[str] | None = None
    records: int | None = None
    filters: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class Touch:
    """What a call does to a resource of the same connector beside its own: decided by itself, as a call of its own.

    `fields` are all that the call selects, compares, orders by or writes there: a call is refused by the first of them
    that no policy permits or that one masks. `arguments` are what the resource's own tool would have been given.
    """

    resource: str
    action: str
    fields: frozenset[str]
    arguments: Mapping[str, Any] = field(default_factory=dict)


WHOLE: Mapping[str, Any] = MappingProxyType({})
"""An output schema, or a part of one, of which everything leaves. It is compared by identity: no file can say it.

For what has been checked by other means, as the results of an MCP server are. Credentials are looked for all the same.
"""


class Cursors(Protocol):
    """Makes the cursors of one agent and tool: opaque to the agent, and of no use to another."""

    def seal(self, query: str, place: Any) -> str:
        """Return a cursor for a place, of JSON values, in the results of a query."""
        ...

    def open(self, query: str, cursor: str) -> Any:
        """Return the place; raise `CursorInvalid` if the cursor is not one of this agent, tool and query."""
        ...


class NoCursors:
    """For calls whose results are not handed over in pages: its cursors are empty, and it takes none."""

    def seal(self, query: str, place: Any) -> str:  # noqa: ARG002 - the protocol's own signature
        """Return none."""
        return ""

    def open(self, query: str, cursor: str) -> Any:  # noqa: ARG002
        """Refuse."""
        raise errors.CursorInvalid


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One permitted call: arguments that match the tool's input schema, where to tell progress, and its scope.

    `touched` has the scope of everything that the tool's `touches` named, by resource and action. `key` is the same
    for the same agent, tool and arguments, and for no others: by it a service can know a repeated write. `most_bytes`
    is the largest result that will be released, as JSON. `dialogue` is the way back to the client that called.
    `caller` is the same for the same agent, and the person for whom it acts, and for no others. `grant` is the id of
    the grant whose credential is used: with another, the service may be another.
    """

    arguments: Mapping[str, Any]
    emit: Emit
    scope: Scope = Scope()
    touched: Sequence[Scope] = ()
    key: str = ""
    cursors: Cursors = field(default_factory=NoCursors)
    most_bytes: int | None = None
    dialogue: Dialogue = field(default_factory=NoDialogue)
    caller: str = ""
    grant: str = ""

    def scope_of(self, touch: int) -> Scope:
        """Return the scope of a touch by its number; of what nobody has decided, one without any field."""
        return self.touched[touch] if touch < len(self.touched) else Scope(frozenset())


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of what a service allows in its own period is used."""

    used: int
    most: int


Run = Callable[[ToolCall, Session], Awaitable[Any]]
Touches = Callable[[Mapping[str, Any]], Sequence[Touch]]
"""Names everything that a call with these arguments touches beside its own resource; may refuse, as `Check` does."""
Check = Callable[[Mapping[str, Any]], None]
"""Raises `InvalidArguments` for what the input schema cannot say; called before anything is recorded as begun."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One action on one resource.

    `output_schema` is what may leave: members that it does not declare are taken off the result. `run` is None for an
    action that exists so that policies can speak of it, but that the connector does not perform yet. `check` sees
    arguments that match the schema, before the call has begun. `filterable` are the fields by which `run` can narrow a
    call to a scope's filters; a policy that filters by another is refused when it is loaded. `records` is the member of
    the result that holds the record or the list of records, "" where the result itself is the record; a policy that
    narrows what may leave of a tool that names none is refused when it is loaded. What `touches` names is decided with
    the call, and the first that no policy permits refuses it. `told` is what clients are told of the result where
    `output_schema` is too much to tell: it must be true of every result.

    `name` is what clients call it, behind the connector's name unless it is not `prefixed`; without one it is called by
    its resource and action. `serves` is `tool`, or what else of MCP it stands behind, which is not among the tools that
    clients list: a `resource` is read with `uri`, a `subscription` to one runs until its dialogue has `ended`, a
    `prompt` is got with `name` and `arguments`, a `completion` made with `ref`, `argument` and `context`. `in_mcp` says
    that `run` returns what MCP calls a result, with `content`, and not just its data; `definition` is what clients are
    told of the tool beside its description and input schema, or of the resources, templates and prompts that there are.
    """

    resource: str
    action: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    reads_only: bool
    scopes: Sequence[str] = ()
    run: Run | None = None
    check: Check | None = None
    filterable: frozenset[str] = frozenset()
    records: str | None = None
    touches: Touches | None = None
    told: Mapping[str, Any] | None = None
    name: str | None = None
    prefixed: bool = True
    serves: Literal["tool", "resource", "subscription", "prompt", "completion"] = "tool"
    in_mcp: bool = False
    definition: Mapping[str, Any] = field(default_factory=dict)


class NoSettings(BaseModel):
    """For connectors that have no settings of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Connector:
    """What one type of service is, to the broker.

    `tools` raises `ValueError` with words for the administrator where the document or snapshot does not fit; what is
    only not pinned yet (no snapshot, or none of a resource) it lists as not built, so that policies can name it.
    `grant` is how it is usually connected, `further_grants` how else it can be.
    `expired` tells whether a response means "renew the token and try again" (asked once a call). `describe` fetches
    what the service says of itself, to be pinned; `probe` is a harmless call that shows whether a grant works. `usage`
    reads from a response how much of the service's allowance is used, where it says so. `processes` says that its
    service may be a program, `discovers` that its snapshot says which resources there are. `about` is a line for
    whoever chooses a connector, `asks` what `aam connector add` asks them. `described_at` says where `describe` finds
    what everybody may see: it is given a session without any credential then. `pin` makes a snapshot of a description
    that an operator hands in. `models` makes it a service of models, which `ModelRoute` documents name; `api_key` is
    how a key is sent unless the document says otherwise.
    """

    name: str
    hosts: Sequence[str]
    endpoints: Endpoints
    grant: GrantKind
    tools: Callable[[ConnectorDocument, Any], Sequence[Tool]]
    expired: Callable[[Response], bool]
    probe: Callable[[Session, ConnectorDocument], Awaitable[str]]
    describe: Callable[[Session, ConnectorDocument], Awaitable[Any]] | None = None
    settings: type[BaseModel] = NoSettings
    usage: Callable[[Response], Usage | None] | None = None
    further_grants: Sequence[GrantKind] = ()
    processes: bool = False
    discovers: bool = False
    about: str = ""
    asks: Sequence[Question] = USUAL_QUESTIONS
    described_at: Callable[[ConnectorDocument], str | None] | None = None
    pin: Callable[[ConnectorDocument, bytes], Awaitable[Any]] | None = None
    models: ModelProvider | None = None
    api_key: ApiKeyDocument = field(default_factory=ApiKeyDocument)
