"""`NAME.query`: SQL as the agent writes it, decided table by table and column by column, and written anew."""

import functools
from collections.abc import Mapping
from typing import Any

from broker.connector import Session, ToolCall, Touch, errors
from connectors.sql.allowed import SQLITE_FUNCTIONS
from connectors.sql.catalogue import database_of
from connectors.sql.rendering import Rendering
from connectors.sql.statement import Statement, understand
from connectors.sql.tables import Tables, permitted
from connectors.sql.values import DEFAULT_RECORDS, fitting, plain


class FreeQuery:
    """Queries over the mapped tables."""

    def __init__(self, tables: Tables) -> None:
        self._understood = functools.lru_cache(maxsize=128)(lambda text: understand(text, tables))

    def touches(self, arguments: Mapping[str, Any]) -> list[Touch]:
        """Name the search of every table that the query touches, with all the columns that it names."""
        statement, limit = self._understood(arguments["sql"]), _limit(arguments)
        return [
            Touch(resource, "search", fields, {"fields": sorted(fields), "limit": limit})
            for resource, fields in statement.touched.items()
        ]

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidArguments` for what is no query over what is pinned."""
        self._understood(arguments["sql"])

    async def run(self, call: ToolCall, session: Session) -> Any:
        """Answer the rows of the query that every part of the decision leaves."""
        statement = self._understood(call.arguments["sql"])
        scopes = {resource: call.scope_of(number) for number, resource in enumerate(statement.touched)}
        for table in statement.tables:
            table.check(scopes[table.resource], statement.touched[table.resource])
        limit = self._limit(call, statement)
        rendering = Rendering(database_of(session).dialect)
        tree = statement.rewritten(lambda mapped: mapped.conditions(scopes[mapped.resource].filters), limit=limit + 1)
        text = rendering.text(tree)
        of_filters = [
            (table, {*statement.touched[table.resource], *(one.field for one in scopes[table.resource].filters)})
            for table in statement.tables
        ]
        allowed = permitted(of_filters, SQLITE_FUNCTIONS, statement.parts)
        found = await database_of(session).read(text, rendering.parameters, limit + 1, allowed)
        rows = [dict(zip(statement.names, map(plain, row), strict=True)) for row in found.rows]
        kept = fitting(rows[:limit], call.most_bytes)
        own = statement.limit is not None and kept >= statement.limit
        return {"records": rows[:kept], "more": len(rows) > kept and not own}

    def _limit(self, call: ToolCall, statement: Statement) -> int:
        """Return how many rows may be answered; refuse to gather more records into them than policies permit."""
        limits = [_limit(call.arguments)] + ([] if statement.limit is None else [statement.limit])
        limits += [] if call.scope.records is None else [call.scope.records]
        for number, (resource, _) in enumerate(statement.touched.items()):
            most = call.scope_of(number).records
            if most is None:
                continue
            if statement.collects or statement.uses.get(resource, 0) > 1:
                raise errors.AccessDenied(
                    f"The agent's policies permit {most} records of {resource} in one call: name it once, without "
                    "functions that bring several rows into one (string_agg, array_agg, lag, lead, first_value)."
                )
            limits.append(most)
        return min(limits)


def _limit(arguments: Mapping[str, Any]) -> int:
    return int(arguments.get("limit", DEFAULT_RECORDS))
