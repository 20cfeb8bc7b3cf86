"""A parsed SOQL statement, and how a refusal points at a place in it.

    Statement(fields=(Id, Name), sobject=Account, condition=Every((Comparison(...), Not(...))), order=(...), ...)

The leaves are tokens of the query, so that whoever refuses one can say where it stands.
"""

import re
from dataclasses import dataclass
from typing import Final

from broker.testing.salesforce.errors import ServiceError

_EXCERPT: Final = 35


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the statement: its kind, its text as written, and where it starts."""

    kind: str
    text: str
    position: int

    def word(self) -> str:
        """Return the keyword this token may be; a quoted string is never one."""
        return self.text.upper() if self.kind == "name" else ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field operator value`; `IN` and `NOT IN` have any number of values, or a query that finds them; others one."""

    field: Token
    operator: str
    values: tuple[Token, ...]
    within: "Statement | None" = None


@dataclass(frozen=True, slots=True)
class Not:
    """The records that a condition leaves out."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class Every:
    """Conditions joined by AND."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Conditions joined by OR."""

    conditions: tuple["Condition", ...]


Condition = Comparison | Not | Every | Some


@dataclass(frozen=True, slots=True)
class Ordering:
    """One key of ORDER BY. Nulls come first unless the query says otherwise, whatever the direction."""

    field: Token
    descending: bool
    nulls_last: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed query; no fields means `COUNT()`. A field that is a statement is a subquery of related records."""

    text: str
    fields: "tuple[Token | Statement, ...]"
    sobject: Token
    condition: Condition | None
    order: tuple[Ordering, ...]
    limit: int | None
    offset: int

    def refuse(self, code: str, at: Token, sentence: str) -> ServiceError:
        """Make the refusal of this query because of one of its tokens."""
        return ServiceError(400, code, located(self.text, at.position, sentence))


def located(text: str, position: int, sentence: str) -> str:
    r"""Put the place a message speaks of before it, as the query resource does.

        \nSELECT Nope FROM Account\n       ^\nERROR at Row:1:Column:8\nNo such column 'Nope' on entity 'Account'.

    Long queries are cut at word boundaries around the place; where exactly the service cuts is not documented.
    """
    row = text.count("\n", 0, position) + 1
    start = text.rfind("\n", 0, position) + 1
    line = text[start:].partition("\n")[0]
    column = position - start
    before = line[:column]
    if len(before) > _EXCERPT:
        before = re.sub(r"\A[^\s,]*[\s,]+", "", before[-_EXCERPT:])
    after = line[column:]
    if len(after) > _EXCERPT:
        after = after[:_EXCERPT] + re.split(r"[\s,]", after[_EXCERPT:], maxsplit=1)[0]
    return f"\n{before}{after}\n{' ' * len(before)}^\nERROR at Row:{row}:Column:{column + 1}\n{sentence}"
