"""What an agent's permits leave of an action, all of them together: for telling it, not for deciding."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.policy.compiled import CompiledRule


@dataclass(frozen=True, slots=True)
class Narrowing:
    """The fields and records that any permit leaves, and whether each of them leaves only some records."""

    fields: frozenset[str] | None = None
    records: int | None = None
    filtered: bool = False

    @classmethod
    def of(cls, permits: Sequence[CompiledRule]) -> "Narrowing":
        """Return what some permits leave; nothing is narrowed that one of them leaves whole."""
        fields = [one.fields for one in permits]
        records = [one.max_records for one in permits]
        return cls(
            fields=None if None in fields else frozenset().union(*(one for one in fields if one is not None)),
            records=None if None in records else max((one for one in records if one is not None), default=None),
            filtered=all(one.filter is not None for one in permits),
        )

    def __bool__(self) -> bool:
        return self.fields is not None or self.records is not None or self.filtered


NOT_NARROWED = Narrowing()
