"""One mapped table: searching, reading and describing it, within the scope of each call."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from broker.connector import Session, ToolCall, Touch, errors
from connectors.sql.allowed import SQLITE_FUNCTIONS
from connectors.sql.catalogue import database_of
from connectors.sql.rendering import Rendering
from connectors.sql.tables import Mapped, permitted
from connectors.sql.values import DEFAULT_RECORDS, fitting, plain

_GREATEST_OFFSET = 100_000


@dataclass(frozen=True, slots=True)
class Reading:
    """What can be read of one table."""

    of: Mapped

    async def read(self, call: ToolCall, session: Session) -> Any:
        """Read one row by its key; what is outside the scope is not found."""
        wanted = self._wanted(call)
        conditions = [self.of.compare(name, "=", value) for name, value in call.arguments["key"].items()]
        found = await self._rows(session, call, wanted, [*conditions, *self.of.conditions(call.scope.filters)], (), 1)
        if not found:
            raise errors.UpstreamNotFound
        return {"record": found[0]}

    async def search(self, call: ToolCall, session: Session) -> Any:
        """Search by conditions, a page at a time."""
        arguments, wanted = call.arguments, self._wanted(call)
        self.of.check(call.scope, _compared(arguments))
        limit = min(int(arguments.get("limit", DEFAULT_RECORDS)), call.scope.records or _GREATEST_OFFSET)
        limit = 0 if call.scope.records == 0 else limit
        conditions = [*self._conditions(arguments), *self.of.conditions(call.scope.filters)]
        query = repr((sorted(map(repr, conditions)), wanted, arguments.get("order_by")))
        offset = 0 if "cursor" not in arguments else int(call.cursors.open(query, arguments["cursor"]))
        found = []
        if limit:
            order = self._order(arguments)
            found = await self._rows(session, call, wanted, conditions, order, limit + 1, offset)
        kept = fitting(found[:limit], call.most_bytes)
        page: dict[str, Any] = {"records": found[:kept], "more": len(found) > kept}
        if page["more"] and 0 < offset + kept <= _GREATEST_OFFSET:
            page["cursor"] = call.cursors.seal(query, offset + kept)
        if arguments.get("count"):
            page["total"] = await self._count(session, conditions, arguments, call)
        return page

    async def describe(self, call: ToolCall, _session: Session) -> Any:
        """Say what is pinned of the table, of the columns that may be seen."""
        allowed = self.of.allowed(call.scope)
        fields = [
            {"name": name, "type": column.type, "kind": column.kind, "nullable": column.nullable}
            for name, column in self.of.fields.items()
            if name in allowed
        ]
        name = f"{self.of.table.schema_name}.{self.of.table.name}"
        return {"table": name, "key": [one for one in self.of.table.key if one in allowed], "fields": fields}

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for a search that cannot be made."""
        self._conditions(arguments)

    def touches(self, arguments: Mapping[str, Any]) -> Sequence[Touch]:
        """Name the columns that a search compares and orders by: what is masked is not found out so."""
        compared = _compared(arguments)
        return [Touch(self.of.resource, "search", compared, arguments)] if compared else []

    def _wanted(self, call: ToolCall) -> list[str]:
        asked = call.arguments.get("fields")
        allowed = self.of.allowed(call.scope)
        if asked is None:
            return allowed
        self.of.check(call.scope, asked)
        return list(asked)

    def _conditions(self, arguments: Mapping[str, Any]) -> list[exp.Expr]:
        asked = arguments.get("filters", ())
        return [self.of.compare(one["field"], one.get("operator", "="), one["value"]) for one in asked]

    def _order(self, arguments: Mapping[str, Any]) -> list[exp.Expr]:
        """Return what rows are ordered by: in the end by their key, so that pages do not overlap."""
        asked = [(one["field"], bool(one.get("descending"))) for one in arguments.get("order_by", ())]
        known = {name for name, _ in asked}
        asked += [(name, False) for name in self.of.table.key if name not in known]
        return [exp.Ordered(this=self.of.column(name), desc=descending) for name, descending in asked]

    async def _rows(
        self,
        session: Session,
        call: ToolCall,
        wanted: Sequence[str],
        conditions: Sequence[exp.Expr],
        order: Sequence[exp.Expr],
        most: int,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        tree = exp.select(*(self.of.column(name) for name in wanted)).from_(self.of.source())
        tree = tree.where(*conditions).limit(most)
        tree = tree.order_by(*order) if order else tree
        tree = tree.offset(offset) if offset else tree
        found = await self._ask(session, tree, self._names(call, wanted), most)
        return [dict(zip(wanted, map(plain, row), strict=True)) for row in found]

    async def _count(
        self, session: Session, conditions: Sequence[exp.Expr], arguments: Mapping[str, Any], call: ToolCall
    ) -> int:
        tree = exp.select(exp.Count(this=exp.Star())).from_(self.of.source()).where(*conditions)
        found = await self._ask(session, tree, self._names(call, _compared(arguments)), 1)
        return int(found[0][0])

    def _names(self, call: ToolCall, wanted: Iterable[str]) -> set[str]:
        """Return every column that the statement of a call touches."""
        filters = {one.field for one in call.scope.filters}
        return {*wanted, *_compared(call.arguments), *call.arguments.get("key", ()), *self.of.table.key, *filters}

    async def _ask(self, session: Session, tree: exp.Expr, names: set[str], most: int) -> Sequence[Sequence[Any]]:
        rendering = Rendering(self.of.dialect)
        text = rendering.text(tree)
        allowed = permitted([(self.of, names)], SQLITE_FUNCTIONS)
        return (await database_of(session).read(text, rendering.parameters, most, allowed)).rows


def _compared(arguments: Mapping[str, Any]) -> frozenset[str]:
    named = (*arguments.get("filters", ()), *arguments.get("order_by", ()))
    return frozenset(one["field"] for one in named)
