"""What a database says of its tables: fetched once, to be pinned."""

from typing import Any

from broker.connector import ConnectorDocument, DatabaseSession, Session, errors
from connectors.sql.snapshot import Kind, Snapshot

_MOST_COLUMNS = 2000
_LONGEST_NAME = 128

_POSTGRES = """
SELECT n.nspname, c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), t.typname,
       t.typcategory::text, NOT a.attnotnull, a.atthasdef OR a.attidentity <> '',
       a.attgenerated <> '' OR a.attidentity = 'a',
       coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND has_column_privilege(c.oid, a.attnum, 'SELECT')
ORDER BY a.attnum
"""
_SQLITE = """
SELECT 'main', m.name, m.type, c.name, c.type, c.type, '', c."notnull" = 0 AND c.pk = 0,
       c.dflt_value IS NOT NULL OR (c.pk = 1 AND upper(c.type) = 'INTEGER'), c.hidden IN (2, 3), c.pk
FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c
WHERE m.type IN ('table', 'view') AND lower(m.name) = lower(@p2) AND @p1 = 'main' AND c.hidden <> 1
ORDER BY c.cid
"""
_VIEWS = frozenset({"v", "m", "view"})
_OF_POSTGRES: dict[str, Kind] = {
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "float4": "number",
    "float8": "number",
    "numeric": "decimal",
    "bool": "boolean",
    "json": "json",
    "jsonb": "json",
    "date": "moment",
    "time": "moment",
    "timetz": "moment",
    "timestamp": "moment",
    "timestamptz": "moment",
}


async def describe(session: Session, document: ConnectorDocument) -> Any:
    """Fetch what the database says of every mapped table."""
    database = database_of(session)
    objects = {name: await _table(database, name) for name in sorted(set(document.resources.values()))}
    return Snapshot.model_validate({"service": "sql", "dialect": database.dialect, "objects": objects}).model_dump()


async def probe(session: Session, _document: ConnectorDocument) -> str:
    """Ask for the server's version, which every user may."""
    database = database_of(session)
    if database.dialect == "sqlite":
        rows = await database.read("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], 1)
        return f"opened; {int(rows.rows[0][0])} tables"
    rows = await database.read("SELECT current_setting('server_version'), current_user", [], 1)
    return f"signed in as {rows.rows[0][1]}; PostgreSQL {rows.rows[0][0]}"


def database_of(session: Session) -> DatabaseSession:
    """Return the session as one of a database."""
    if not isinstance(session, DatabaseSession):
        raise errors.EgressDenied(detail="the session is of no database")
    return session


def split_name(name: str, dialect: str) -> tuple[str, str]:
    """Return schema and table of a name as documents write it."""
    schema, dot, table = name.partition(".")
    return (schema, table) if dot else ("public" if dialect == "postgres" else "main", name)


async def _table(database: DatabaseSession, name: str) -> dict[str, Any]:
    statement = _POSTGRES if database.dialect == "postgres" else _SQLITE
    found = await database.read(statement, list(split_name(name, database.dialect)), _MOST_COLUMNS)
    if not found.rows:
        raise errors.UpstreamNotFound(
            f"The database shows this account no table {name!r}; an administrator must look at 'resources'."
        )
    columns, key = [], {}
    for _, _, _, column, said, plain, category, nullable, default, generated, place in found.rows:
        kind = _kind_of_postgres(plain, category) if database.dialect == "postgres" else _kind_of_sqlite(said)
        if kind is None or not column.isprintable() or not 0 < len(column) <= _LONGEST_NAME:
            continue
        facts = {"nullable": bool(nullable), "default": bool(default), "generated": bool(generated)}
        columns.append({"name": column, "type": said, "kind": kind, **facts})
        if place:
            key[place] = column
    first = found.rows[0]
    known = [key[place] for place in sorted(key)]
    return {"schema_name": first[0], "name": first[1], "view": first[2] in _VIEWS, "key": known, "columns": columns}


def _kind_of_postgres(name: str, category: str) -> Kind | None:
    """Return what a type is to an agent; None for bytes, which do not leave."""
    if name == "bytea":
        return None
    return _OF_POSTGRES.get(name, "json" if category == "A" else "string")


def _kind_of_sqlite(declared: str) -> Kind | None:
    """Return what a declared type means by SQLite's own rules of affinity (datatype3.html §3.1)."""
    said = declared.upper()
    if "INT" in said:
        return "integer"
    if any(word in said for word in ("CHAR", "CLOB", "TEXT")):
        return "string"
    if "BLOB" in said:
        return None
    if any(word in said for word in ("DATE", "TIME")):
        return "moment"
    return "number" if said else "string"
