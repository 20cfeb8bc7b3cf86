"""Which calls an operator means, and why: what erasing, holding and revealing ask for."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from broker.audit import Filter
from broker.errors import OperatorRequestInvalid

# What is asked stands in a record, which has its own limit
_Value = Annotated[str, Field(max_length=300)]


class Because(BaseModel):
    """A body that says why; it stands in the trail for good."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Which(Because):
    """A body that says which calls: one, or those that match a filter that asks for something. Never all of them."""

    call: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    filter: dict[str, _Value] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        wanted_of(self.call, self.filter)
        return self

    @property
    def wanted(self) -> Mapping[str, str]:
        """What must be true of a call."""
        return wanted_of(self.call, self.filter)


def wanted_of(call: str | None, given: Mapping[str, str]) -> Mapping[str, str]:
    """Return what must be true of a call; raise `OperatorRequestInvalid` unless one call or some filter is named."""
    try:
        wanted = Filter.parse(given).query()
    except ValueError as error:
        raise OperatorRequestInvalid(f"filter: {error}.") from None
    if (call is None) == (not wanted):
        raise OperatorRequestInvalid("Name either one call or a filter that asks for something.")
    return wanted if call is None else {"call": call}
