"""How the search index is filled: its tables, and the SQL that reads them out of the trail, batch by batch.

What searches ask of a call is the same for very many calls: it stands once, as a *facet*, and each entry names its own.
"""

import contextlib
import functools
import sqlite3

SCHEMA_VERSION = 2
SPAN = 1024  # records, of which the oldest and the newest time are kept
FACTS = ("agent", "workload", "owner", "team", "resource", "action", "decision", "code")

_FACTS = ", ".join(FACTS)
_TABLES = f"""
CREATE TABLE progress (size INTEGER NOT NULL, last BLOB NOT NULL);
INSERT INTO progress VALUES (0, x'');
CREATE TABLE facets (id INTEGER PRIMARY KEY, {", ".join(f"{fact} TEXT" for fact in FACTS)});
CREATE INDEX facets_by_fact ON facets ({_FACTS});
CREATE TABLE entries (seq INTEGER PRIMARY KEY, time TEXT, facet INTEGER NOT NULL);
CREATE INDEX entries_by_facet ON entries (facet);
CREATE TABLE members (seq INTEGER PRIMARY KEY, entry INTEGER NOT NULL);
CREATE TABLE runs (run TEXT, entry INTEGER, PRIMARY KEY (run, entry)) WITHOUT ROWID;
CREATE TABLE spans (number INTEGER PRIMARY KEY, oldest TEXT NOT NULL, newest TEXT NOT NULL);
PRAGMA user_version = {SCHEMA_VERSION};
"""  # noqa: S608 - constants
_SAID = f"CREATE TEMP TABLE IF NOT EXISTS said (entry INTEGER PRIMARY KEY, time TEXT, {_FACTS})"

# A call is one entry, under its first record's number; every other record is an entry of its own
_ADD_MEMBERS = """
INSERT INTO members
SELECT seq, coalesce((SELECT min(first.seq) FROM trail.records first WHERE first.call_id = r.call_id), seq)
FROM trail.records r WHERE seq >= :start AND seq < :stop
"""
# What the batch says of its entries, together with what was known of them; a body may be gone, or no JSON any more
_SAY = f"""
INSERT INTO temp.said
SELECT entry, max(time), {", ".join(f"max({fact})" for fact in FACTS)} FROM (
  SELECT entry, iif(seq = entry, json_extract(body, '$.time'), NULL) AS time,
    json_extract(body, '$.identity.agent') AS agent, json_extract(body, '$.identity.spiffe_id') AS workload,
    json_extract(body, '$.identity.owner') AS owner, json_extract(body, '$.identity.team') AS team,
    json_extract(body, '$.action.resource') AS resource, json_extract(body, '$.action.action') AS action,
    json_extract(body, '$.policy.decision') AS decision, json_extract(body, '$.outcome.code') AS code
  FROM (
    SELECT m.seq, m.entry, iif(json_valid(CAST(r.body AS TEXT)), CAST(r.body AS TEXT), NULL) AS body
    FROM members m CROSS JOIN trail.records r ON r.seq = m.seq WHERE m.seq >= :start AND m.seq < :stop
  )
  UNION ALL
  SELECT seq, time, {_FACTS} FROM entries JOIN facets ON id = facet
  WHERE seq < :start AND seq IN (SELECT entry FROM members WHERE seq >= :start AND seq < :stop)
) GROUP BY entry
"""  # noqa: S608 - constants
_SAME = " AND ".join(f"f.{fact} IS s.{fact}" for fact in FACTS)
_ADD_FACETS = f"""
INSERT INTO facets ({_FACTS}) SELECT DISTINCT {_FACTS} FROM temp.said s
WHERE NOT EXISTS (SELECT 1 FROM facets f WHERE {_SAME})
"""  # noqa: S608 - constants
_ADD_ENTRIES = f"""
INSERT INTO entries SELECT entry, time, (SELECT id FROM facets f WHERE {_SAME}) FROM temp.said s WHERE true
ON CONFLICT DO UPDATE SET facet = excluded.facet
"""  # noqa: S608 - constants
_ADD_SPANS = f"""
INSERT INTO spans SELECT entry / {SPAN}, min(time), max(time) FROM temp.said WHERE time IS NOT NULL GROUP BY 1
ON CONFLICT DO UPDATE SET oldest = min(oldest, excluded.oldest), newest = max(newest, excluded.newest)
"""  # noqa: S608 - constants
_ADD_RUNS = """
INSERT OR IGNORE INTO runs
SELECT json_extract(body, '$.run_id') AS run, entry FROM (
  SELECT m.entry, iif(json_valid(CAST(r.body AS TEXT)), CAST(r.body AS TEXT), NULL) AS body
  FROM members m CROSS JOIN trail.records r ON r.seq = m.seq WHERE m.seq >= :start AND m.seq < :stop
) WHERE typeof(run) = 'text'
"""
_PROGRESS = "UPDATE progress SET size = :stop, last = (SELECT hash FROM trail.records WHERE seq = :stop - 1)"

_OF_THE_SYSTEM = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


def make(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty index."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(f"BEGIN; {_TABLES} COMMIT;")


def is_whole(connection: sqlite3.Connection) -> bool:
    """Tell whether what is there is an undamaged index of this version; raise `sqlite3.Error` if it cannot be read."""
    tables = connection.execute("SELECT sql FROM main.sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()
    return (
        tables == _tables()
        and connection.execute("PRAGMA main.user_version").fetchone() == (SCHEMA_VERSION,)
        and connection.execute("PRAGMA main.quick_check(1)").fetchone() == ("ok",)
    )


def is_of_the_system(error: sqlite3.Error) -> bool:
    """Tell whether an error speaks of the disk, locks or memory, not of a file that is no sound index."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _OF_THE_SYSTEM


def progress(connection: sqlite3.Connection) -> int:
    """Return how many records are indexed; raise `sqlite3.DatabaseError` if they are not those of this trail."""
    found = connection.execute(
        "SELECT size FROM progress WHERE size = 0 OR last = (SELECT hash FROM trail.records WHERE seq = size - 1)"
    ).fetchone()
    if found is None:
        raise sqlite3.DatabaseError("it is of another trail")
    return int(found[0])


def fill(connection: sqlite3.Connection, start: int, limit: int) -> int:
    """Index records from `start` on, `limit` at most, in one transaction; return how many are indexed now."""
    (size,) = connection.execute("SELECT coalesce(max(seq) + 1, 0) FROM trail.records").fetchone()
    stop = min(int(size), start + limit)
    if stop <= start:
        return start
    batch = {"start": start, "stop": stop}
    connection.execute(_SAID)
    connection.execute("BEGIN")
    connection.execute(_ADD_MEMBERS, batch)
    connection.execute(_ADD_RUNS, batch)
    connection.execute(_SAY, batch)
    for statement in (_ADD_FACETS, _ADD_ENTRIES, _ADD_SPANS, "DELETE FROM temp.said"):
        connection.execute(statement)
    connection.execute(_PROGRESS, batch)
    connection.execute("COMMIT")
    return stop


@functools.cache
def _tables() -> list[tuple[str]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_TABLES)
        return connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()
