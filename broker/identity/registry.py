"""The agent registry: whose agent a workload is, where it runs and whether it may call. And the trust domains."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from broker.errors import AgentExpired, AgentRetired, AgentSuspended, AgentUnregistered
from broker.identity.endpoint import Endpoint
from broker.identity.workload import SpiffeId

Selector = Annotated[
    str,
    Field(
        pattern=r"^unix:(uid:\d+|gid:\d+|user:\S+|group:\S+|path:/.+|sha256:[0-9a-f]{64})$",
        examples=["unix:uid:1000", "unix:user:agent", "unix:group:agents", "unix:path:/usr/bin/agent"],
    ),
]
Status = Literal["active", "suspended", "retired"]
Presentation = Literal["all", "meta"]
Environment = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$", examples=["production"])]
Words = Annotated[str, Field(min_length=1, max_length=200)]


def _workload(text: str) -> str:
    return str(SpiffeId.parse(text))


Workload = Annotated[str, AfterValidator(_workload)]


def _endpoint(text: str) -> str:
    return Endpoint.parse(text).target and text


class ToolsPart(BaseModel):
    """How tools are shown to an agent. It is presentation: what it may call, its policies say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    present: Presentation = Field(
        default="all",
        description="'all' lists every tool; 'meta' lists search_tools, describe_tool and call_tool in their place.",
    )


class AgentDocument(BaseModel):
    """`spec` of an `Agent` document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workload: Workload = Field(description="The SPIFFE ID under which the agent proves itself.")
    owner: Words = Field(description="The person or group that answers for the agent.")
    team: Words = Field(description="The team it belongs to.")
    environment: Environment = Field(description="Must be the environment of its trust domain.")
    deployment: Words = Field(description="Which deployment of it this is.")
    status: Status = "active"
    valid_until: datetime.datetime | None = Field(default=None, description="After this moment it may not call.")
    selectors: Annotated[list[Selector], Field(max_length=16)] = Field(
        default_factory=list,
        description="What must all be true of a local process that calls through the agents' socket without a token.",
    )
    tools: ToolsPart = Field(default_factory=ToolsPart)

    @model_validator(mode="after")
    def _with_time_zone(self) -> "AgentDocument":
        if self.valid_until is not None and self.valid_until.tzinfo is None:
            raise ValueError("valid_until needs a time zone, for example 2027-01-31T00:00:00Z")
        return self


class BundleSource(BaseModel):
    """Where a trust domain's keys come from: a file beside the documents, an https URL, or the Workload API.

    A URL is authenticated by Web PKI (the `https_web` profile), or, where `endpoint` names its SPIFFE ID, by an
    X.509-SVID (`https_spiffe`), against the `bootstrap` bundle at first and what was fetched from then on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str | None = None
    url: (
        Annotated[str, Field(pattern=r"^https://[^/@\s]+(/\S*)?$", examples=["https://spire.example.com/bundle"])]
        | None
    ) = None
    workload_api: Annotated[str, AfterValidator(_endpoint)] | None = Field(
        default=None,
        description="The SPIRE agent's socket, as SPIFFE_ENDPOINT_SOCKET writes it: unix:///run/spire/agent.sock.",
    )
    endpoint: Workload | None = Field(default=None, description="The SPIFFE ID of the URL's server (`https_spiffe`).")
    bootstrap: str | None = Field(
        default=None, description="A file with the bundle of the endpoint's trust domain, for the first connection."
    )
    certificate_authority: str | None = Field(default=None, description="PEM file to trust for the URL.")
    private_ranges: list[str] = Field(
        default_factory=list, description="Private address ranges that the URL may resolve to."
    )
    stale_after_hours: Annotated[float, Field(gt=0, le=24 * 30)] = Field(
        default=24, description="A bundle that could not be renewed for this long is no longer trusted."
    )

    @model_validator(mode="after")
    def _one(self) -> "BundleSource":
        if sum(source is not None for source in (self.file, self.url, self.workload_api)) != 1:
            raise ValueError("name one of file, url and workload_api")
        if (self.endpoint is None) != (self.bootstrap is None):
            raise ValueError("endpoint and bootstrap belong together: who answers, and whom to believe at first")
        if self.endpoint is not None and self.url is None:
            raise ValueError("endpoint and bootstrap belong to a url")
        if self.endpoint is not None and self.certificate_authority is not None:
            raise ValueError("an endpoint with a SPIFFE ID is authenticated by it: leave certificate_authority out")
        return self


class TrustDomainDocument(BaseModel):
    """`spec` of a `TrustDomain` document; its `metadata.name` is the trust domain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: Environment
    bundle: BundleSource | None = Field(
        default=None, description="What its SVIDs are verified by; without it none is taken, only other proofs."
    )
    development: bool = Field(
        default=False, description="Its keys lie on a developer's disk; needs 'aam serve --development'."
    )
    longest_lifetime_seconds: Annotated[int, Field(ge=30, le=86400)] = Field(
        default=3600, description="Tokens that live longer are refused."
    )


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """A trust domain as configured: which environment it stands for and how long its tokens may live (seconds)."""

    name: str
    environment: str
    development: bool = False
    longest_lifetime: float = 3600.0


@dataclass(frozen=True, slots=True)
class Agent:
    """One registry entry: the workload, and the people and place that answer for it."""

    name: str
    workload: str
    owner: str
    team: str
    environment: str
    deployment: str
    status: Status = "active"
    valid_until: datetime.datetime | None = None
    selectors: frozenset[str] = frozenset()
    present: Presentation = "all"


class Registry:
    """The registered agents, by workload. Immutable; a change of documents brings a new one."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self.agents: Mapping[str, Agent] = MappingProxyType({agent.workload: agent for agent in agents})

    def standing(self, workload: str, now: datetime.datetime) -> Agent:
        """Return the agent of a workload, if there is one and it may call now; raise `AgentBarred` otherwise."""
        agent = self.agents.get(workload)
        if agent is None:
            raise AgentUnregistered
        if agent.status == "suspended":
            raise AgentSuspended
        if agent.status == "retired":
            raise AgentRetired
        if agent.valid_until is not None and agent.valid_until <= now:
            raise AgentExpired
        return agent

    def matching(self, selectors: frozenset[str]) -> list[Agent]:
        """Return the agents all of whose selectors are among these; an agent without selectors never matches."""
        return [agent for agent in self.agents.values() if agent.selectors and agent.selectors <= selectors]
