"""One tool rule as it is written: what it permits or denies, when, how narrowly, and under which obligations."""

import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_NARROWS = ("fields", "max_records", "filter", "mask", "redact", "max_bytes", "limits", "approval")
_CONDITIONS = ("when", "valid_from", "valid_until")

Action = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_]{0,30})$", examples=["read"])]
Resource = Annotated[
    str,
    Field(
        pattern=r"^(\*|(\*|[a-z][a-z0-9_]*)\.(\*|[a-z][a-z0-9_]*))$",
        examples=["salesforce.accounts", "salesforce.*", "*"],
    ),
]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.]{0,199}$", examples=["Name"])]
Fields = Annotated[list[FieldName], Field(min_length=1, max_length=500)]


def _zoned(moment: datetime.datetime) -> datetime.datetime:
    if moment.tzinfo is None:
        raise ValueError("needs a time zone, for example 2027-01-31T00:00:00Z")
    return moment


Moment = Annotated[datetime.datetime, AfterValidator(_zoned)]
Calls = Annotated[int, Field(ge=1, le=1_000_000_000)]


def covers(pattern: str, resource: str) -> bool:
    """Tell whether a resource is what a pattern names; `*` stands for one whole part, or alone for everything."""
    if "*" not in pattern:
        return pattern == resource
    connector, _, name = pattern.partition(".")
    given, _, rest = resource.partition(".")
    return connector in ("*", given) and name in ("", "*", rest)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitsPart(_Part):
    """How many calls the rule permits; calls are counted exactly, and the count survives a restart."""

    calls_per_minute: Calls | None = Field(default=None, description="In each calendar minute.")
    calls_per_hour: Calls | None = Field(default=None, description="In each calendar hour.")
    calls_per_day: Calls | None = Field(default=None, description="In each day of UTC.")
    concurrent: Annotated[int, Field(ge=1, le=10_000)] | None = Field(default=None, description="At once.")

    @model_validator(mode="after")
    def _some(self) -> "LimitsPart":
        if not self.model_fields_set:
            raise ValueError("names no limit; write calls_per_minute, calls_per_hour, calls_per_day or concurrent")
        return self


class ApprovalPart(_Part):
    """The call is made once an operator has approved it, with exactly these arguments."""

    by: Annotated[list[Literal["admin", "approver"]], Field(min_length=1)] = Field(
        default=["approver"], description="The roles of operators who may approve."
    )
    exclude_owner: bool = Field(default=True, description="The agent's owner may not approve its calls.")
    expires_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = Field(
        default=60, description="For so long it can be approved, and once approved, be used."
    )
    webhook: (
        Annotated[str, Field(pattern=r"^https://[^\s/@]+(/\S*)?$", examples=["https://chat.example.com/hooks/aam"])]
        | None
    ) = Field(default=None, description="Where a link to the request is sent, and nothing else.")


class ToolRule(_Part):
    """What the agent may and may not do with one resource, or with all that a wildcard names."""

    resource: Resource = Field(
        description="A connector's name and what its document calls the resource; '*' stands for a whole part."
    )
    actions: list[Action] = Field(default_factory=list, description="What is permitted; nothing unless named.")
    deny: list[Action] = Field(
        default_factory=list, description="What is denied, whatever this or another policy permits."
    )
    when: Annotated[str, Field(min_length=1, max_length=2000)] | None = Field(
        default=None,
        description="A condition in CEL over arguments, agent, on_behalf_of and context; the rule applies where it is "
        "true.",
        examples=["arguments.amount <= 1000"],
    )
    valid_from: Moment | None = Field(default=None, description="Before this moment the rule does not apply.")
    valid_until: Moment | None = Field(default=None, description="From this moment on the rule does not apply.")
    fields: Fields | None = Field(default=None, description="The only fields of a record that may leave.")
    max_records: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="The most records that one call may return."
    )
    filter: Annotated[str, Field(min_length=1, max_length=2000)] | None = Field(
        default=None,
        description="What must be true of every record that the call touches; it becomes part of the service's query.",
        examples=["Owner.Email = :on_behalf_of.email"],
    )
    mask: Fields | None = Field(default=None, description="Fields of which only the last characters leave.")
    redact: Fields | None = Field(default=None, description="Fields that are taken off the result.")
    max_bytes: Annotated[int, Field(ge=64, le=64 << 20)] | None = Field(
        default=None, description="The most bytes that a result may have."
    )
    limits: LimitsPart | None = None
    approval: ApprovalPart | None = None

    def names(self, resource: str) -> bool:
        """Tell whether the rule speaks of a resource."""
        return covers(self.resource, resource)

    @model_validator(mode="after")
    def _one_thing(self) -> "ToolRule":
        if self.deny and not self.actions and (lost := [name for name in _NARROWS if getattr(self, name) is not None]):
            raise ValueError(f"{lost[0]} narrows what a rule permits, and this one permits nothing; name 'actions'")
        if self.deny and self.actions and (lost := [name for name in _CONDITIONS if getattr(self, name) is not None]):
            raise ValueError(f"{lost[0]} would make the denial conditional too; write the denial as a rule of its own")
        if self.valid_from is not None and self.valid_until is not None and self.valid_from >= self.valid_until:
            raise ValueError("can never apply: valid_until is not after valid_from")
        return self
