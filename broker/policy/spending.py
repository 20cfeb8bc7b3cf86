"""What may be spent on models: budgets and limits as documents write them, and the caps that a call is under.

budget: { daily_usd: 75, timezone: Europe/Berlin }
limits: { requests_per_minute: 60, tokens_per_minute: 200000, concurrent: 4 }
"""

import zoneinfo
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Unit = Literal["nano_usd", "tokens", "requests"]
Whose = Literal["agent", "team", "owner", "organisation"]
Period = Literal["minute", "day", "week", "month"]

LARGEST_USD = 9_000_000  # in nano-dollars, below 2^53: exact in every record and every reader of JSON
_NANO = 10**9
_AMOUNTS: tuple[tuple[Period, str], ...] = (("day", "daily_usd"), ("week", "weekly_usd"), ("month", "monthly_usd"))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be an IANA time zone, for example Europe/Berlin or UTC") from None
    return name


TimeZone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_zone)]
Usd = Annotated[float, Field(ge=0, le=LARGEST_USD, allow_inf_nan=False)]
Percent = Annotated[int, Field(ge=1, le=100)]
Count = Annotated[int, Field(ge=1, le=10**12)]


class BudgetPart(_Part):
    """What may be spent on models in each calendar day, week (from Monday) and month of a time zone."""

    daily_usd: Usd | None = Field(default=None, description="US dollars a day.")
    weekly_usd: Usd | None = Field(default=None, description="US dollars a week, from Monday on.")
    monthly_usd: Usd | None = Field(default=None, description="US dollars a month.")
    timezone: TimeZone = Field(
        default="UTC", description="Where the day, the week and the month begin.", examples=["Europe/Berlin"]
    )
    on_insufficient: Literal["reject", "clamp"] = Field(
        default="reject", description="'clamp' lowers a call's output cap to what fits, instead of refusing the call."
    )
    min_output_tokens: Annotated[int, Field(ge=1, le=10**7)] = Field(
        default=256, description="What is clamped is not clamped below this: the call is refused then."
    )
    alerts: Annotated[list[Percent], Field(max_length=10)] = Field(
        default_factory=lambda: [80, 100], description="Percents of an amount; reaching one is on record and announced."
    )
    webhook: (
        Annotated[str, Field(pattern=r"^https://[^\s/@]+(/\S*)?$", examples=["https://chat.example.com/hooks/aam"])]
        | None
    ) = Field(default=None, description="Where alerts are announced; they are on record without it, too.")

    @model_validator(mode="after")
    def _some(self) -> "BudgetPart":
        if all(getattr(self, name) is None for _, name in _AMOUNTS):
            raise ValueError("names no amount; write daily_usd, weekly_usd or monthly_usd")
        return self


class ModelLimitsPart(_Part):
    """How many model calls, and how many tokens in them, the agent may have; counted exactly, across restarts."""

    requests_per_minute: Count | None = Field(default=None, description="In each calendar minute.")
    requests_per_day: Count | None = Field(default=None, description="In each day of UTC.")
    tokens_per_minute: Count | None = Field(default=None, description="Of input and output, in each calendar minute.")
    tokens_per_day: Count | None = Field(default=None, description="Of input and output, in each day of UTC.")
    concurrent: Annotated[int, Field(ge=1, le=10_000)] | None = Field(default=None, description="At once.")

    @model_validator(mode="after")
    def _some(self) -> "ModelLimitsPart":
        if not self.model_fields_set:
            raise ValueError("names no limit; write requests_per_minute, tokens_per_minute or concurrent")
        return self


class BudgetDocument(BudgetPart):
    """`spec` of a `Budget` document: what all agents of a team, of an owner, or of everybody may spend together."""

    team: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    owner: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    organisation: Literal[True] | None = Field(default=None, description="All agents together.")

    @model_validator(mode="after")
    def _one(self) -> "BudgetDocument":
        if sum(one is not None for one in (self.team, self.owner, self.organisation)) != 1:
            raise ValueError("names whose it is: a team, an owner, or 'organisation: true'; one of them")
        return self

    @property
    def whose(self) -> tuple[Whose, str]:
        """Whose budget it is."""
        if self.team is not None:
            return "team", self.team
        return ("organisation", "") if self.owner is None else ("owner", self.owner)


@dataclass(frozen=True, slots=True)
class Cap:
    """So much, of money, tokens or requests, in each calendar period of a time zone, of everything that one has."""

    whose: Whose
    name: str
    """The agent's workload, the team's or the owner's name."""
    unit: Unit
    period: Period
    zone: str
    amount: int
    source: str
    """The policy or Budget document that says so."""
    clamp: bool = False
    min_output_tokens: int = 1
    alerts: tuple[int, ...] = ()
    webhook: str | None = None
    key: str = field(init=False)
    """What is counted under. It stays the same when the amount, or the document that names it, changes."""

    def __post_init__(self) -> None:
        key = f"{self.unit}:{self.whose}:{self.period}:{self.zone}:{self.name}"
        object.__setattr__(self, "key", key)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Every cap that an agent's model calls are under, one for each key, and how many calls it may have at once."""

    caps: tuple[Cap, ...] = ()
    concurrent: tuple[tuple[str, int], ...] = ()
    """For each policy that says so, its name and how many."""

    def __post_init__(self) -> None:
        if len({cap.key for cap in self.caps}) < len(self.caps):
            raise ValueError("caps that count the same thing would count it twice; see `tightest`")

    @property
    def budgeted(self) -> bool:
        """Whether money is counted: then what has no price is refused."""
        return any(cap.unit == "nano_usd" for cap in self.caps)


NO_CAPS = Allowance()


def tightest(caps: Iterable[Cap]) -> tuple[Cap, ...]:
    """Return of the caps that count the same thing the tightest: with it, all of them hold."""
    found: dict[str, Cap] = {}
    for cap in sorted(caps, key=lambda cap: (cap.amount, cap.clamp, cap.source)):
        found.setdefault(cap.key, cap)
    return tuple(found[key] for key in sorted(found))


def money_caps(part: BudgetPart, whose: Whose, name: str, source: str) -> Iterator[Cap]:
    """Yield the caps that a budget puts on whom it is for."""
    for period, member in _AMOUNTS:
        amount = getattr(part, member)
        if amount is not None:
            yield Cap(
                whose,
                name,
                "nano_usd",
                period,
                part.timezone,
                int((Decimal(repr(amount)) * _NANO).to_integral_value(ROUND_FLOOR)),
                source,
                part.on_insufficient == "clamp",
                part.min_output_tokens,
                tuple(sorted(set(part.alerts))),
                part.webhook,
            )


def count_caps(part: ModelLimitsPart, workload: str, policy: str) -> Iterator[Cap]:
    """Yield the caps that a policy's limits put on its agent, but for those of calls at once."""
    counted: tuple[tuple[Unit, Period, int | None], ...] = (
        ("requests", "minute", part.requests_per_minute),
        ("requests", "day", part.requests_per_day),
        ("tokens", "minute", part.tokens_per_minute),
        ("tokens", "day", part.tokens_per_day),
    )
    for unit, period, amount in counted:
        if amount is not None:
            yield Cap("agent", workload, unit, period, "UTC", amount, policy)
