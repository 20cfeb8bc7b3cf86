"""Two sets of documents side by side: what becomes allowed, what becomes refused, and what is bound otherwise."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from broker.documents.snapshot import Snapshot
from broker.policy import AgentPolicies, CompiledRule

Change = Literal["allowed", "refused", "changed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One action of one agent that is not what it was; `old` and `new` say under which terms it is permitted."""

    workload: str
    resource: str
    action: str
    change: Change
    old: tuple[str, ...]
    new: tuple[str, ...]


def compare(old: Snapshot, new: Snapshot) -> Iterator[Difference]:
    """Yield what differs, by workload, resource and action."""
    workloads = sorted({*old.policies, *new.policies})
    offered = {(tool.resource, tool.action) for snapshot in (old, new) for tool in snapshot.catalog}
    for workload in workloads:
        before, after = old.policies_of(workload), new.policies_of(workload)
        for resource, action in sorted(offered):
            was, becomes = terms(before, resource, action), terms(after, resource, action)
            if was != becomes:
                change: Change = "changed" if was and becomes else "allowed" if becomes else "refused"
                yield Difference(workload, resource, action, change, was, becomes)


def terms(policies: AgentPolicies, resource: str, action: str) -> tuple[str, ...]:
    """Return under which terms an action is permitted, the widest first; nothing if it never is."""
    if not policies.could_permit(resource, action):
        return ()
    permits, denies = policies.speaking(resource, action)
    demands = policies.demands
    observed = [f"observed until {one.isoformat()}" for one in policies.observed_until(resource, action)]
    return tuple(
        dict.fromkeys(
            (
                *(", ".join(["permitted", *_terms(one)]) for one in permits),
                *(", ".join(["denied", *_when(one)]) for one in denies),
                *(f"demands {one}" for one in demands),
                *observed,
            )
        )
    )


def _when(rule: CompiledRule) -> Iterator[str]:
    if rule.when is not None:
        yield f"when {rule.when.text}"
    if rule.valid_from is not None:
        yield f"from {rule.valid_from.isoformat()}"
    if rule.valid_until is not None:
        yield f"until {rule.valid_until.isoformat()}"


def _terms(rule: CompiledRule) -> Iterator[str]:
    yield from _when(rule)
    if rule.fields is not None:
        yield f"only {', '.join(sorted(rule.fields))}"
    if rule.max_records is not None:
        yield f"{rule.max_records} records at most"
    if rule.filter is not None:
        yield f"where {rule.filter.text}"
    if rule.obligations.mask:
        yield f"{', '.join(sorted(rule.obligations.mask))} masked"
    if rule.obligations.redact:
        yield f"without {', '.join(sorted(rule.obligations.redact))}"
    if rule.obligations.max_bytes is not None:
        yield f"{rule.obligations.max_bytes} bytes at most"
    for limit in rule.limits:
        yield f"{limit.calls} calls {'at once' if limit.per == 'concurrent' else f'a {limit.per}'}"
    if rule.approval is not None:
        yield f"approved by {' or '.join(rule.approval.by)}" + (" but not the owner" * rule.approval.exclude_owner)
