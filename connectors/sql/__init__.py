"""SQL databases: mapped tables and views of PostgreSQL and SQLite read, searched, queried freely, and written by key.

What the tables, columns and keys are is the pinned snapshot's to say. Reading is what a database is for here; writing
is turned on by the document, table by table.
"""

from collections.abc import Iterator
from typing import Any

from broker.connector import Connector, ConnectorDocument, Endpoints, Question, Response, Tool
from connectors.sql import schemas
from connectors.sql.catalogue import describe, probe
from connectors.sql.free import FreeQuery
from connectors.sql.reading import Reading
from connectors.sql.snapshot import WORKS, Settings, read_snapshot
from connectors.sql.tables import Mapped, Tables
from connectors.sql.writing import Writing

__all__ = ["CONNECTOR"]

_QUERY = "query"
_NO_RECORD = "record"
"""For tools that narrow what they do by themselves, and whose result has no such member: no record leaves."""


def tools(document: ConnectorDocument, snapshot: Any) -> list[Tool]:
    """Return the tools of every mapped table; those of a table that is not pinned yet are not built."""
    if document.dialect is None:
        raise ValueError("'url' must be that of a database: postgresql://host[:port]/database, or sqlite:FILE")
    if document.snapshot is None:
        raise ValueError("'snapshot' is missing: name a JSON file here, and 'aam connector snapshot NAME' writes it")
    if _QUERY in document.resources:
        raise ValueError(f"'{_QUERY}' is the connector's own resource; call the table's resource something else")
    writes = Settings.model_validate(document.settings).writes
    if unknown := writes.keys() - document.resources.keys():
        raise ValueError(f"'settings.writes' names {min(unknown)!r}, which is not among 'resources'")
    pinned = read_snapshot(snapshot) if snapshot is not None else None
    if pinned is not None and pinned.dialect != document.dialect:
        raise ValueError(f"the snapshot is of a {pinned.dialect} database; fetch it again")
    tables = Tables(document.dialect, {}) if pinned is None else Tables.mapped(document.resources, pinned)
    found: list[Tool] = []
    for resource in document.resources:
        if resource in tables.of:
            found += _table_tools(tables.of[resource], frozenset(writes.get(resource, ())))
        else:
            found += (_not_built(resource, action) for action in ("read", "search", "describe", *sorted(WORKS)))
    return [*found, _query_tool(tables)]


def _table_tools(of: Mapped, writes: frozenset[str]) -> Iterator[Tool]:
    reading, name, by = Reading(of), of.resource, frozenset(of.fields)
    what = "view" if of.table.view else "table"
    if of.table.key:
        yield Tool(
            name,
            "read",
            f"Read one row of the {what} {of.table.name} by its key.",
            schemas.read(of),
            schemas.closed({"record": schemas.shown(of)}, required=["record"]),
            reads_only=True,
            run=reading.read,
            check=Writing(of).check_values,
            filterable=by,
            records="record",
        )
    else:
        yield _not_built(name, "read")
    yield Tool(
        name,
        "search",
        f"Search rows of the {what} {of.table.name} by conditions on its columns. Name the fields you need. "
        "'more' in the answer says that there are others, 'cursor' leads to them.",
        schemas.search(of),
        schemas.page(schemas.shown(of)),
        reads_only=True,
        run=reading.search,
        check=reading.check,
        touches=reading.touches,
        filterable=by,
        records="records",
    )
    yield Tool(
        name,
        "describe",
        f"List the columns of the {what} {of.table.name}: names, types, which of them are its key.",
        schemas.closed({}),
        schemas.DESCRIBED,
        reads_only=True,
        run=reading.describe,
        filterable=by,
        records=_NO_RECORD,
    )
    yield from _writing_tools(of, writes)


def _writing_tools(of: Mapped, writes: frozenset[str]) -> Iterator[Tool]:
    writing, table, by = Writing(of), of.table.name, frozenset(of.fields)
    writable = writing.writable
    unknown_outcome = "Repeating the call may create a second one: where the outcome is unknown, search first."
    by_action = {
        "create": (f"Create a row in {table}. {unknown_outcome}", schemas.create(of, writable), writing.create),
        "update": (f"Change one row of {table} by its key.", schemas.update(of, writable), writing.update),
        "delete": (f"Delete one row of {table} by its key.", schemas.delete(of), writing.delete),
    }
    for action, (description, schema, run) in by_action.items():
        if action not in writes or not of.table.key:
            yield _not_built(of.resource, action)
            continue
        yield Tool(
            of.resource,
            action,
            description,
            schema,
            schemas.written(of, {"create": "created", "update": "changed", "delete": "deleted"}[action]),
            reads_only=False,
            run=run,
            check=writing.check_values,
            filterable=by,
            records=_NO_RECORD,
        )


def _query_tool(tables: Tables) -> Tool:
    if not tables.of:
        return _not_built(_QUERY, "run")
    query, known = FreeQuery(tables), ", ".join(tables.of)
    return Tool(
        _QUERY,
        "run",
        f"Run one SELECT of {'PostgreSQL' if tables.dialect == 'postgres' else 'SQLite'} over these tables: {known}. "
        "Joins, subqueries, WITH, UNION, aggregates and window functions are taken; nothing that writes. You need the "
        "permission to search every table, and every column that the query names.",
        schemas.query(),
        schemas.page(schemas.ROW),
        reads_only=True,
        run=query.run,
        check=query.check,
        touches=query.touches,
        records="records",
    )


def _not_built(resource: str, action: str) -> Tool:
    return Tool(
        resource,
        action,
        f"{action.capitalize()} rows.",
        {"type": "object"},
        schemas.closed({}),
        reads_only=action not in WORKS,
    )


def expired(_response: Response) -> bool:
    """Tell that a password does not expire in the course of a call."""
    return False


CONNECTOR = Connector(
    name="sql",
    hosts=(),
    endpoints=Endpoints(token_endpoint=""),
    grant="basic",
    tools=tools,
    expired=expired,
    probe=probe,
    describe=describe,
    settings=Settings,
    about="Tables of PostgreSQL and SQLite, read, queried in SQL and written by key.",
    asks=(
        Question("url", "The database's URL, without a user", example="postgresql://db.example.com/crm"),
        Question(
            "resources",
            "What policies call each table, and what the database calls it",
            "mapping",
            example="customers=public.customers, orders",
        ),
        Question("snapshot", "The file in which the tables are pinned", usual="{name}.snapshot.json"),
    ),
)
