"""`spec` of an `AgentPolicy` document, as it is written: whom it is for, and everything it permits and demands."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticKnownError

from broker.identity import SpiffeId
from broker.identity.workload import Assurance, Method
from broker.policy.case import PolicyTest
from broker.policy.rule import Action, Moment, ToolRule
from broker.policy.spending import BudgetPart, ModelLimitsPart

_ALWAYS_RECORDED = ("identity", "policy", "action", "outcome")
_SEALED = ("arguments", "result")  # recorded encrypted, and only where a policy asks
_ONE_ARGUMENT = re.compile(r"arguments\.[A-Za-z0-9_$-]{1,64}")
_MOST_RECORDED = 50  # parts that one policy may name


def _recordable(word: str) -> str:
    if word not in {*_ALWAYS_RECORDED, *_SEALED} and not _ONE_ARGUMENT.fullmatch(word):
        raise PydanticKnownError("literal_error", {"expected": ", ".join((*_ALWAYS_RECORDED, *_SEALED))})
    return word


Recorded = Annotated[
    str,
    AfterValidator(_recordable),
    WithJsonSchema(
        {
            "type": "string",
            "anyOf": [
                {"enum": [*_ALWAYS_RECORDED, *_SEALED]},
                {"pattern": f"^{_ONE_ARGUMENT.pattern}$", "examples": ["arguments.id"]},
            ],
        }
    ),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IdentityPart(_Part):
    """Whom the policy is for."""

    workload: str = Field(description="The SPIFFE ID of the agent.", examples=["spiffe://prod/agent/finance-analyst"])

    @field_validator("workload")
    @classmethod
    def _spiffe_id(cls, text: str) -> str:
        return str(SpiffeId.parse(text))


class ModelsPart(_Part):
    """Which models the agent may use."""

    allow: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="Names of models, as their routes are called; none unless named."
    )
    budget: BudgetPart | None = None
    limits: ModelLimitsPart | None = None


class CredentialsPart(_Part):
    """How credentials reach the call; there is one way, and it is written down so that readers see it."""

    injection: Literal["runtime"] = "runtime"
    expose_to_agent: Literal[False] = False

    @field_validator("injection", mode="before")
    @classmethod
    def _runtime_only(cls, value: Any) -> Any:
        if value != "runtime":
            raise ValueError("'runtime' is the only injection: the broker writes the credential into the call it makes")
        return value

    @field_validator("expose_to_agent", mode="before")
    @classmethod
    def _never(cls, value: Any) -> Any:
        if value is not False:
            raise ValueError("must be false: agents get tools, never credentials")
        return value


class AuditPart(_Part):
    """What of each call is recorded; the four parts that make a record evidence are always recorded.

    `arguments`, `arguments.NAME` and `result` are recorded encrypted, beside the trail, and can be erased.
    """

    record: list[Recorded] = Field(default_factory=lambda: list(_ALWAYS_RECORDED), max_length=_MOST_RECORDED)

    @field_validator("record")
    @classmethod
    def _whole(cls, value: list[str]) -> list[str]:
        if missing := [part for part in _ALWAYS_RECORDED if part not in value]:
            raise ValueError(f"must hold {', '.join(missing)}: a call without it cannot be shown to anyone")
        return value


class RequirePart(_Part):
    """What every call of the agent must bring, whichever policy permits it: a call that does not is denied."""

    on_behalf_of: bool = Field(default=False, description="A verified delegation by a person or a workload.")
    assurance: Annotated[list[Assurance], Field(min_length=1)] | None = Field(
        default=None, description="How surely the agent proved itself: one of these."
    )
    refuse_methods: list[Method] = Field(default_factory=list, description="Kinds of proof that are not enough.")


class ObservePart(_Part):
    """How long calls that no rule permits are let through and recorded, while a policy is rolled out."""

    until: Moment = Field(description="From this moment on the policy is enforced.")
    writes: list[Action] = Field(
        default_factory=list, description="Actions that change something and are let through too; none unless named."
    )


class AgentPolicyDocument(_Part):
    """`spec` of an `AgentPolicy` document."""

    identity: IdentityPart
    models: ModelsPart = Field(default_factory=ModelsPart)
    require: RequirePart | None = None
    tools: list[ToolRule] = Field(default_factory=list)
    enforcement: Literal["enforce", "observe"] = Field(
        default="enforce", description="'observe' lets through and records what no rule permits; denials still bind."
    )
    observe: ObservePart | None = None
    credentials: CredentialsPart = Field(default_factory=CredentialsPart)
    audit: AuditPart = Field(default_factory=AuditPart)
    tests: Annotated[list[PolicyTest], Field(max_length=1000)] = Field(
        default_factory=list, description="What 'aam policy test' holds all policies of the agent to."
    )

    @model_validator(mode="after")
    def _observing_ends(self) -> "AgentPolicyDocument":
        if self.enforcement == "observe" and self.observe is None:
            raise ValueError("observing must end: write 'observe: { until: 2027-01-31T00:00:00Z }' too")
        if self.enforcement != "observe" and self.observe is not None:
            raise ValueError("'observe' means nothing without 'enforcement: observe'")
        return self


def sealed_words(recorded: Iterable[str]) -> tuple[str, ...]:
    """Return what is recorded encrypted, in a fixed order; all arguments cover each of them."""
    words = set(recorded)
    one = () if "arguments" in words else (word for word in words if word.startswith("arguments."))
    return tuple(sorted({*one, *words.intersection(_SEALED)}))
