"""Writing one row by its key, where the document lets it: never by free SQL, and never outside the scope."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from broker.connector import Rows, Scope, Session, ToolCall, errors
from connectors.sql.allowed import SQLITE_FUNCTIONS
from connectors.sql.catalogue import database_of
from connectors.sql.rendering import Rendering, quoted
from connectors.sql.tables import Mapped, permitted
from connectors.sql.values import plain


@dataclass(frozen=True, slots=True)
class Writing:
    """What can be written to one table. Each call is one statement, in a transaction of its own."""

    of: Mapped

    @property
    def writable(self) -> list[str]:
        """The columns that can be given values."""
        return [name for name, column in self.of.fields.items() if not column.generated]

    async def create(self, call: ToolCall, session: Session) -> Any:
        """Insert a row, which must be within the scope."""
        values: Mapping[str, Any] = call.arguments["values"]
        self.of.check(call.scope, values)
        rendering = Rendering(self.of.dialect)
        names = ", ".join(quoted(self.of.fields[name].name) for name in values)
        places = ", ".join(rendering.text(self.of.literal(name, value)) for name, value in values.items())
        text = f"INSERT INTO {self._table} ({names}) VALUES ({places})"  # noqa: S608 - names are pinned, values not in it
        key = await self._change(call, session, rendering, text)
        return {"key": key, "created": True}

    async def update(self, call: ToolCall, session: Session) -> Any:
        """Change one row, which must be within the scope before and after."""
        values: Mapping[str, Any] = call.arguments["values"]
        self.of.check(call.scope, values)
        rendering = Rendering(self.of.dialect)
        changes = ", ".join(
            f"{quoted(self.of.fields[name].name)} = {rendering.text(self.of.literal(name, value))}"
            for name, value in values.items()
        )
        text = f"UPDATE {self._table} SET {changes} WHERE {self._where(call, rendering)}"  # noqa: S608 - as above
        key = await self._change(call, session, rendering, text)
        return {"key": key, "changed": True}

    async def delete(self, call: ToolCall, session: Session) -> Any:
        """Delete one row."""
        rendering = Rendering(self.of.dialect)
        text = f"DELETE FROM {self._table} WHERE {self._where(call, rendering)}"  # noqa: S608 - as above
        key = await self._change(call, session, rendering, text, stays=False)
        return {"key": key, "deleted": True}

    def check_values(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for a value or key that is none of its column's."""
        for name, value in {**arguments.get("values", {}), **arguments.get("key", {})}.items():
            self.of.literal(name, value)

    @property
    def _table(self) -> str:
        return f"{quoted(self.of.table.schema_name)}.{quoted(self.of.table.name)}"

    def _where(self, call: ToolCall, rendering: Rendering) -> str:
        key = [self.of.compare(name, "=", value) for name, value in call.arguments["key"].items()]
        return rendering.text(exp.and_(*key, *self.of.conditions(call.scope.filters)))

    async def _change(
        self, call: ToolCall, session: Session, rendering: Rendering, text: str, *, stays: bool = True
    ) -> dict[str, Any]:
        """Run the statement; have it undone unless it changed one row, which the scope's filters leave if it stays."""
        key = self.of.table.key
        filters = self.of.conditions(call.scope.filters) if stays else []
        within = rendering.text(exp.and_(*filters)) if filters else "1 = 1"
        inside = f"CASE WHEN {within} THEN 1 ELSE 0 END"
        text += f" RETURNING {', '.join([inside, *(quoted(self.of.fields[name].name) for name in key)])}"
        found: list[Sequence[Any]] = []

        def changed(rows: Rows, number: int) -> None:
            found.extend(rows.rows)
            _check_changed(call.scope, found, number)

        names = {*call.arguments.get("values", ()), *key, *(one.field for one in call.scope.filters)}
        allowed = permitted([(self.of, names)], SQLITE_FUNCTIONS)
        await database_of(session).write(text, rendering.parameters, changed, allowed)
        return dict(zip(key, map(plain, found[0][1:]), strict=True))


def _check_changed(scope: Scope, found: Sequence[Sequence[Any]], number: int) -> None:
    if number == 0 or not found:
        raise errors.UpstreamNotFound
    if number != 1 or len(found) != 1:
        raise errors.UpstreamRejected("The statement would have changed several rows, and has been undone.")
    if found[0][0] != 1:
        filtered = ", ".join(sorted({one.field for one in scope.filters}))
        raise errors.AccessDenied(
            f"The agent's policies permit only rows with {filtered} as they filter it; the row would be outside."
        )
