"""A parsed query.

    SELECT Id, Owner.Email, (SELECT LastName FROM Contacts LIMIT 5) FROM Account WHERE Name LIKE 'A%' ORDER BY Name

Literals are kept as they were written; they are texts with SOQL's own escapes, numbers, dates, `null`, `true` and
`false`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """`path operator literal`; a list of literals, or a query, after IN and NOT IN."""

    path: str
    operator: str
    literals: tuple[str, ...]
    within: "Query | None" = None


@dataclass(frozen=True, slots=True)
class Not:
    """What a condition leaves out."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class Joined:
    """Conditions joined by AND, or by OR."""

    joint: str
    conditions: "tuple[Condition, ...]"


Condition = Comparison | Not | Joined


@dataclass(frozen=True, slots=True)
class Ordering:
    """One key of ORDER BY; `how` is its direction and where nulls go, as it is written."""

    path: str
    how: str


@dataclass(frozen=True, slots=True)
class Query:
    """A query. No paths and no subqueries means COUNT()."""

    paths: tuple[str, ...]
    subqueries: "tuple[Query, ...]"
    source: str
    condition: Condition | None
    order: tuple[Ordering, ...]
    limit: int | None
    offset: int | None

    @property
    def counts(self) -> bool:
        """Whether it asks for COUNT()."""
        return not self.paths and not self.subqueries
