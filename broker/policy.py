"""The policy decision point: AgentPolicy documents in, decisions out; a pure function.

Permits of several policies unite, denies override, and no applicable rule means deny.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, field_validator
from pydantic_core import PydanticKnownError

from broker.errors import AccessDenied
from broker.identity import SpiffeId, WorkloadIdentity

Action = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", examples=["read"])]
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


class ModelBudget(_Part):
    """What the agent may spend on models."""

    daily_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="US dollars a day; the day is UTC's."
    )


class ModelsPart(_Part):
    """Which models the agent may use."""

    allow: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="Names of models, as their routes are called; none unless named."
    )
    budget: ModelBudget | None = None


class ToolRule(_Part):
    """What the agent may and may not do with one resource."""

    resource: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")] = Field(
        description="A connector's name and what its document calls the resource.", examples=["salesforce.accounts"]
    )
    actions: list[Action] = Field(default_factory=list, description="What is permitted; nothing unless named.")
    deny: list[Action] = Field(
        default_factory=list, description="What is denied, whatever this or another policy permits."
    )


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


class AgentPolicyDocument(_Part):
    """`spec` of an `AgentPolicy` document."""

    identity: IdentityPart
    models: ModelsPart = Field(default_factory=ModelsPart)
    tools: list[ToolRule] = Field(default_factory=list)
    credentials: CredentialsPart = Field(default_factory=CredentialsPart)
    audit: AuditPart = Field(default_factory=AuditPart)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of one policy that can decide: it permits or denies one action on one resource."""

    policy: str
    digest: str
    place: str
    """Where it stands in the document, as `tools[0].deny`."""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Subject, action, resource and context (OpenID AuthZEN Authorization API §5)."""

    subject: WorkloadIdentity
    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """Permit or deny, the rules that determined it, and what would be permitted on the same resource."""

    effect: Literal["permit", "deny"]
    reason: Literal["rule_permits", "rule_denies", "no_rule_permits"]
    rules: tuple[Rule, ...]
    permitted: tuple[str, ...]
    policies: tuple[str, ...]
    """Every policy that speaks of the resource."""

    def enforce(self, request: AccessRequest) -> None:
        """Return if the decision is a permit; raise `AccessDenied`, naming policy and alternatives, otherwise."""
        if self.effect == "permit":
            return
        deciding = ", ".join(sorted({rule.policy for rule in self.rules}) or self.policies)
        who = f"Policy {deciding} does not permit" if deciding else "No policy permits"
        instead = f"Permitted on {request.resource}: {', '.join(self.permitted)}." if self.permitted else ""
        raise AccessDenied(
            f"{who} {request.action!r} on {request.resource}. {instead}".rstrip(),
            reason=self.reason,
        )


class AgentPolicies:
    """All policies of one workload, indexed by resource."""

    def __init__(self, policies: Iterable[tuple[str, str, AgentPolicyDocument]] = ()) -> None:
        """`policies` are (name, digest of the document, spec); their order does not matter."""
        permits: dict[str, dict[str, list[Rule]]] = {}
        denies: dict[str, dict[str, list[Rule]]] = {}
        speaking: dict[str, set[str]] = {}
        recorded: set[str] = set()
        for name, digest, document in sorted(policies, key=lambda policy: policy[0]):
            recorded.update(document.audit.record)
            for number, rule in enumerate(document.tools):
                speaking.setdefault(rule.resource, set()).add(name)
                for action in dict.fromkeys(rule.actions):
                    place = Rule(name, digest, f"tools[{number}].actions")
                    permits.setdefault(rule.resource, {}).setdefault(action, []).append(place)
                for action in dict.fromkeys(rule.deny):
                    place = Rule(name, digest, f"tools[{number}].deny")
                    denies.setdefault(rule.resource, {}).setdefault(action, []).append(place)
        self._permits = permits
        self._denies = denies
        self.recorded = _sealed(recorded)
        """What of a call is recorded encrypted, whichever policy asks: `arguments` or some of them, `result`."""
        self._speaking = MappingProxyType({resource: tuple(sorted(names)) for resource, names in speaking.items()})

    def mentions(self, resource: str) -> bool:
        """Tell whether any policy speaks of the resource: only then may the agent know that it exists."""
        return resource in self._speaking

    def could_permit(self, resource: str, action: str) -> bool:
        """Tell whether some call of the action could be permitted; what could not is neither listed nor validated."""
        return action in self._permits.get(resource, ()) and action not in self._denies.get(resource, ())

    def decide(self, request: AccessRequest) -> Decision:
        """Decide one request. The same request is always decided the same."""
        permits = self._permits.get(request.resource, {})
        denies = self._denies.get(request.resource, {})
        permitted = tuple(sorted(action for action in permits if action not in denies))
        policies = self._speaking.get(request.resource, ())
        if request.action in denies:
            return Decision("deny", "rule_denies", tuple(denies[request.action]), permitted, policies)
        if request.action in permits:
            return Decision("permit", "rule_permits", tuple(permits[request.action]), permitted, policies)
        return Decision("deny", "no_rule_permits", (), permitted, policies)


def _sealed(recorded: set[str]) -> tuple[str, ...]:
    """Return what is recorded encrypted, in a fixed order; all arguments cover each of them."""
    one = () if "arguments" in recorded else (word for word in recorded if word.startswith("arguments."))
    return tuple(sorted({*one, *recorded.intersection(_SEALED)}))


NO_POLICIES = AgentPolicies()
