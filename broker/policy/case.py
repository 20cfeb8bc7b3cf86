"""A test that a policy document carries: a request, and how it must be decided."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.identity.workload import Assurance, Method
from broker.policy.rule import FieldName, Moment

Text = Annotated[str, Field(min_length=1, max_length=2000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DelegationCase(_Part):
    """On whose behalf a tested call is made."""

    issuer: Text = "https://issuer.example.com"
    subject: Text
    email: Text | None = None


class AgentCase(_Part):
    """What differs from the registry's entry of the agent; the fields of an agent that is not registered."""

    name: Text | None = None
    owner: Text | None = None
    team: Text | None = None
    environment: Text | None = None
    deployment: Text | None = None


class ContextCase(_Part):
    """The circumstances of a tested call."""

    time: Moment | None = Field(default=None, description="When it is made; now, unless it is named.")
    method: Method = "jwt-svid"
    assurance: Assurance = "attested"
    transport: Text = "streamable-http"
    client: Text | None = None


class PolicyTest(_Part):
    """One request, and what the agent's policies must make of it."""

    name: Text | None = Field(default=None, description="What it shows.")
    resource: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$", examples=["salesforce.accounts"])]
    action: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", examples=["read"])]
    arguments: dict[str, Any] = Field(default_factory=dict)
    agent: AgentCase = Field(default_factory=AgentCase)
    on_behalf_of: DelegationCase | None = None
    context: ContextCase = Field(default_factory=ContextCase)
    expect: Literal["permit", "deny", "needs_approval"]
    fields: list[FieldName] | None = Field(default=None, description="The only fields that may leave, if permitted.")
    max_records: int | None = None
