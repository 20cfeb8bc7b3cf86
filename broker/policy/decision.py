"""What was decided: the effect, the rules that determined it, and what the call is bound to."""

from dataclasses import dataclass
from typing import Literal

from broker.connector import Scope
from broker.errors import AccessDenied, ApprovalNeeded, ConditionFailed
from broker.policy.request import AccessRequest

Per = Literal["minute", "hour", "day", "concurrent"]
Effect = Literal["permit", "deny", "needs_approval"]
Reason = Literal[
    "rule_permits",
    "rule_denies",
    "no_rule_permits",
    "requirement_unmet",
    "condition_failed",
    "approval_required",
    "approved",
    "observed",
]


_DEMANDS = {
    "require.on_behalf_of": "that calls are made on somebody's behalf, with a token that says on whose",
    "require.assurance": "a surer proof of who calls",
    "require.refuse_methods": "another kind of proof of who calls",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of one policy that can decide: it permits or denies, or demands something of every call."""

    policy: str
    digest: str
    place: str
    """Where it stands in the document, as `tools[0].deny`."""
    file: str = ""
    line: int = 0
    """Where it stands in the set, for people; 0 where it was not read from a file."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A rule that could not be evaluated for a request, and why; the words hold nothing of the request's values."""

    rule: Rule
    why: str
    undetermined: bool = False
    """Whether it only lacks what is not known of a request that is told of."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person must grant before the call is made: once, for exactly this agent, tool and arguments."""

    by: tuple[Literal["admin", "approver"], ...]
    """The roles of operators any one of whom may grant it."""
    exclude_owner: bool
    """Whether the agent's owner may not."""
    expires_minutes: int
    webhook: str | None
    """Where a link is sent to those who may."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many calls in each calendar minute, hour or day of UTC, or at once, of all calls that a rule permits."""

    key: str
    """What is counted under: stays the same when the rule moves, or its number changes."""
    rule: Rule
    calls: int
    per: Per


@dataclass(frozen=True, slots=True)
class Obligations:
    """What must be done to the result before it leaves."""

    mask: frozenset[str] = frozenset()
    redact: frozenset[str] = frozenset()
    max_bytes: int | None = None

    def __bool__(self) -> bool:
        return bool(self.mask or self.redact) or self.max_bytes is not None


UNNARROWED = Scope()
NO_OBLIGATIONS = Obligations()


@dataclass(frozen=True, slots=True)
class Decision:
    """Permit, deny or needs approval; the rules that determined it; what the call is narrowed to and bound by.

    A permitted call is under one permit, the widest that applies: `scope`, `obligations` and `approval` are that one's.
    `limits` are those of every permit that applies.
    """

    effect: Effect
    reason: Reason
    rules: tuple[Rule, ...]
    permitted: tuple[str, ...]
    """The actions that could be permitted on the same resource."""
    policies: tuple[str, ...]
    """Every policy that speaks of the resource."""
    scope: Scope = UNNARROWED
    obligations: Obligations = NO_OBLIGATIONS
    approval: Approval | None = None
    limits: tuple[Limit, ...] = ()
    failed: tuple[Failed, ...] = ()
    """Rules that could not be evaluated: a permit that cannot be permits nothing, a denial that cannot be denies."""
    observed: str | None = None
    """What would have refused the call, had its policy not been in observe mode."""

    def enforce(self, request: AccessRequest) -> None:
        """Return if the decision is a permit; raise the refusal, naming policy and alternatives, otherwise."""
        if self.effect == "permit":
            return
        deciding = ", ".join(sorted({rule.policy for rule in self.rules}) or self.policies)
        if self.effect == "needs_approval":
            raise ApprovalNeeded(
                f"Policy {deciding} permits {request.action!r} on {request.resource} once an operator approves it."
            )
        if self.reason == "condition_failed":
            raise ConditionFailed(
                f"Policy {deciding} has a condition that cannot be evaluated for this call.",
                detail="; ".join(f"{one.rule.policy} {one.rule.place}: {one.why}" for one in self.failed),
            )
        if self.reason == "requirement_unmet":
            demands = " and ".join(dict.fromkeys(_DEMANDS[rule.place] for rule in self.rules))
            raise AccessDenied(f"Policy {deciding} demands {demands}.", reason=self.reason)
        who = f"Policy {deciding} does not permit" if deciding else "No policy permits"
        instead = f"Permitted on {request.resource}: {', '.join(self.permitted)}." if self.permitted else ""
        raise AccessDenied(
            f"{who} {request.action!r} on {request.resource}. {instead}".rstrip(),
            reason=self.reason,
        )
