"""The mapped tables: how they are called, in which words their columns may be spoken of, and what a scope leaves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from broker.connector import Comparison, Permitted, Scope, errors
from connectors.sql.snapshot import Column, Snapshot, Table

_OPERATORS: dict[str, type[exp.Binary]] = {
    "=": exp.EQ,
    "!=": exp.NEQ,
    "<": exp.LT,
    "<=": exp.LTE,
    ">": exp.GT,
    ">=": exp.GTE,
    "like": exp.Like,
}


@dataclass(frozen=True, slots=True)
class Mapped:
    """One mapped table under its resource's name."""

    resource: str
    dialect: str
    table: Table

    @property
    def fields(self) -> Mapping[str, Column]:
        """The columns by name."""
        return self.table.fields

    def written(self, name: str) -> str:
        """Return a name as the dialect compares names: SQLite does not tell capitals, even in quotes."""
        return name.lower() if self.dialect == "sqlite" else name

    def source(self) -> exp.Table:
        """Return the table, as it stands in a statement."""
        return exp.table_(self.table.name, db=self.table.schema_name, quoted=True)

    def column(self, name: str) -> exp.Column:
        """Return one of its columns."""
        return exp.column(exp.to_identifier(self.fields[name].name, quoted=True))

    def allowed(self, scope: Scope) -> list[str]:
        """Return the columns that a scope leaves; refuse if it leaves none."""
        found = [name for name in self.fields if scope.fields is None or name in scope.fields]
        if not found:
            raise errors.AccessDenied(f"The agent's policies permit no field of {self.resource}.")
        return found

    def check(self, scope: Scope, names: Iterable[str]) -> None:
        """Refuse the first column that a scope does not leave."""
        for name in names:
            if scope.fields is not None and name not in scope.fields:
                allowed = ", ".join(sorted(scope.fields & self.fields.keys()))
                raise errors.AccessDenied(f"The agent's policies do not permit the field {name}. Permitted: {allowed}.")

    def conditions(self, filters: Sequence[Comparison]) -> list[exp.Expr]:
        """Return what must be true of every row, as the decision says it."""
        return [self._condition(one) for one in filters]

    def _condition(self, comparison: Comparison) -> exp.Expr:
        try:
            return self.compare(comparison.field, comparison.operator, comparison.value)
        except errors.InvalidArguments:
            raise errors.AccessDenied(
                f"The agent's policies filter by {comparison.field} in a way that this database cannot be asked."
            ) from None

    def compare(self, name: str, operator: str, value: Any) -> exp.Expr:
        """Return one comparison; raise `InvalidArguments` for a value that is none of its column's."""
        if name not in self.fields:
            raise errors.InvalidArguments(f"{self.resource} has no field {name}.")
        column = self.column(name)
        if operator == "in":
            if not isinstance(value, list) or not value:
                raise errors.InvalidArguments("'in' takes a list of values.")
            return exp.In(this=column, expressions=[self.literal(name, one) for one in value])
        if isinstance(value, list):
            raise errors.InvalidArguments(f"'{operator}' takes one value, not a list.")
        if value is None:
            null = exp.Is(this=column, expression=exp.Null())
            if operator not in {"=", "!="}:
                raise errors.InvalidArguments(f"Nothing is '{operator}' null; use '=' or '!='.")
            return null if operator == "=" else exp.Not(this=null)
        if operator == "like":
            return exp.Like(this=column, expression=exp.Literal.string(str(value)))
        return _OPERATORS[operator](this=column, expression=self.literal(name, value))

    def literal(self, name: str, value: Any) -> exp.Expr:
        """Return a value of a column; what is text in any way becomes a parameter in the end."""
        kind = self.fields[name].kind
        if value is None:
            return exp.Null()
        if isinstance(value, bool):
            if kind not in {"boolean", "integer", "number"} or (kind != "boolean" and self.dialect == "postgres"):
                raise errors.InvalidArguments(f"{name} is no {'true' if value else 'false'}: its type is {kind}.")
            return exp.Boolean(this=value)
        if isinstance(value, int | float) and (kind in {"integer", "number", "boolean"} or self.dialect == "sqlite"):
            if kind in {"integer", "number"} or self.dialect == "sqlite":
                number = exp.Literal.number(repr(abs(value)))
                return exp.Neg(this=number) if value < 0 else number
            raise errors.InvalidArguments(f"{name} is true or false.")
        if isinstance(value, str) and kind in {"integer", "number", "boolean"} and self.dialect == "postgres":
            raise errors.InvalidArguments(f"{name} takes a value of type {kind}, not a text.")
        return exp.Literal.string(str(value))


@dataclass(frozen=True, slots=True)
class Tables:
    """All mapped tables of one database."""

    dialect: str
    of: Mapping[str, Mapped]

    @classmethod
    def mapped(cls, resources: Mapping[str, str], snapshot: Snapshot) -> "Tables":
        """Return those of the resources that are pinned."""
        pinned = snapshot.objects
        found = {
            resource: Mapped(resource, snapshot.dialect, pinned[name])
            for resource, name in resources.items()
            if name in pinned and pinned[name].columns
        }
        return cls(snapshot.dialect, found)

    def find(self, schema: str, name: str) -> Mapped:
        """Return the table that a statement names: by its resource's name, or by its own."""
        if not schema and name in self.of:
            return self.of[name]
        for one in self.of.values():
            right_schema = not schema or one.written(one.table.schema_name) == schema
            if right_schema and one.written(one.table.name) == name:
                return one
        known = ", ".join(self.of)
        raise errors.InvalidArguments(f"There is no table {name!r} here. Tables: {known}.")


def permitted(
    touched: Iterable[tuple[Mapped, Iterable[str]]], functions: frozenset[str], parts: frozenset[str] = frozenset()
) -> Permitted:
    """Return what a statement may touch, as the database is to hold it to it."""
    columns: dict[str, frozenset[str]] = {}
    for table, names in touched:
        known = columns.get(table.table.name.lower(), frozenset())
        columns[table.table.name.lower()] = known | {name.lower() for name in names}
    return Permitted(columns, functions, parts)
