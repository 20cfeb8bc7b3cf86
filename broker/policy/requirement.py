"""What policies demand of every call of an agent, whatever permits it."""

from collections.abc import Iterator
from dataclasses import dataclass

from broker.policy.compiled import WrittenPolicy
from broker.policy.decision import Rule
from broker.policy.request import AccessRequest


@dataclass(frozen=True, slots=True)
class Requirements:
    """The `require` of one policy, with what decisions name for each of its demands."""

    on_behalf_of: Rule | None
    assurance: frozenset[str]
    assured: Rule | None
    refused_methods: frozenset[str]
    method: Rule | None

    @classmethod
    def of(cls, policy: WrittenPolicy) -> "Requirements | None":
        """Return what a policy demands; None if it demands nothing."""
        part = policy.spec.require
        if part is None:
            return None
        return cls(
            policy.rule("require.on_behalf_of") if part.on_behalf_of else None,
            frozenset(part.assurance or ()),
            policy.rule("require.assurance") if part.assurance is not None else None,
            frozenset(part.refuse_methods),
            policy.rule("require.refuse_methods") if part.refuse_methods else None,
        )

    def words(self) -> Iterator[str]:
        """Yield each demand, in words."""
        if self.on_behalf_of is not None:
            yield "a delegation"
        if self.assured is not None:
            yield f"assurance {' or '.join(sorted(self.assurance))}"
        if self.method is not None:
            yield f"no {' or '.join(sorted(self.refused_methods))}"

    def unmet(self, request: AccessRequest) -> list[Rule]:
        """Return every demand that a request does not meet."""
        unmet = []
        if self.on_behalf_of is not None and request.on_behalf_of is None:
            unmet.append(self.on_behalf_of)
        if self.assured is not None and request.subject.assurance not in self.assurance:
            unmet.append(self.assured)
        if self.method is not None and request.subject.method in self.refused_methods:
            unmet.append(self.method)
        return unmet
