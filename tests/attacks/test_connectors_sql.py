"""Attacks on a database through the arguments of its tools, with SQLite's own authorizer as the judge."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from broker.connector import Scope
from broker.egress import Limits
from broker.egress.database import Permitted
from broker.errors import AccessDenied, InvalidArguments, Refusal, Upstream, UpstreamRejected
from connectors.sql import bounded
from connectors.sql.rendering import Rendering
from connectors.sql.snapshot import read_snapshot
from connectors.sql.statement import understand
from connectors.sql.tables import Tables
from tests.support.sql import RESOURCES, ROWS, SCHEMA, Shop, sqlite_shop

CANARY = "CANARY-of-the-shop"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Open a shop that no attack changes."""
    with asyncio.Runner() as runner:
        yield sqlite_shop(tmp_path_factory.mktemp("shop"), runner, total_seconds=5)


REFUSED = {
    "another table": "SELECT value FROM secrets",
    "by its schema": "SELECT value FROM main.secrets",
    "by another schema": "SELECT value FROM temp.secrets",
    "in a subquery": "SELECT (SELECT value FROM secrets) AS v FROM customers",
    "in a condition": "SELECT name FROM customers WHERE EXISTS (SELECT 1 FROM secrets WHERE value LIKE 'C%')",
    "in a union": "SELECT name FROM customers UNION ALL SELECT value FROM secrets",
    "in a WITH": "WITH s AS (SELECT value FROM secrets) SELECT value FROM s",
    "a WITH out of its reach": "SELECT * FROM (WITH secrets AS (SELECT 1 AS v) SELECT v FROM secrets) a, secrets",
    "a WITH before it is there": "WITH a AS (SELECT value FROM secrets), secrets AS (SELECT 1 AS v) SELECT * FROM a",
    "in an IN": "SELECT name FROM customers WHERE name IN secrets",
    "in ORDER BY": "SELECT name FROM customers ORDER BY (SELECT value FROM secrets)",
    "in LIMIT": "SELECT name FROM customers LIMIT (SELECT count(*) FROM secrets)",
    "in a join": "SELECT c.name FROM customers c JOIN secrets s ON s.id = c.id",
    "in parentheses": "SELECT 1 FROM (customers JOIN secrets ON 1 = 1)",
    "the catalogue": "SELECT sql FROM sqlite_master",
    "the catalogue's other name": "SELECT sql FROM sqlite_schema",
    "the catalogue, quoted": 'SELECT sql FROM "sqlite_master"',
    "the catalogue, in brackets": "SELECT sql FROM [sqlite_master]",
    "PostgreSQL's catalogue": "SELECT rolpassword FROM pg_catalog.pg_authid",
    "the information schema": "SELECT table_name FROM information_schema.tables",
    "a table function": "SELECT * FROM pragma_table_info('secrets')",
    "a series": "SELECT * FROM generate_series(1, 1000000000)",
    "stacking": "SELECT 1; DROP TABLE customers",
    "stacking behind a comment": "SELECT 1 /* ; */; DELETE FROM customers --",
    "nothing": "-- nothing",
    "a write": "DELETE FROM customers",
    "a writing WITH": "WITH d AS (DELETE FROM customers RETURNING *) SELECT * FROM d",
    "INTO": "SELECT * INTO stolen FROM customers",
    "a lock": "SELECT * FROM customers FOR UPDATE",
    "ATTACH": "ATTACH 'other.db' AS other",
    "PRAGMA": "PRAGMA table_info(secrets)",
    "EXPLAIN": "EXPLAIN SELECT 1",
    "VACUUM": "VACUUM INTO 'copy.db'",
    "COPY": "COPY customers TO PROGRAM 'id'",
    "DO": "DO $$ BEGIN PERFORM pg_sleep(10); END $$",
    "load_extension": "SELECT load_extension('evil')",
    "readfile": "SELECT readfile('/etc/passwd')",
    "writefile": "SELECT writefile('x', 'y')",
    "pg_read_file": "SELECT pg_read_file('/etc/passwd')",
    "pg_sleep": "SELECT pg_sleep(100)",
    "dblink": "SELECT * FROM dblink('host=evil', 'SELECT 1') AS t(a int)",
    "lo_import": "SELECT lo_import('/etc/passwd')",
    "set_config": "SELECT set_config('role', 'postgres', false)",
    "a qualified function": "SELECT pg_catalog.pg_sleep(100)",
    "query_to_xml": "SELECT query_to_xml('SELECT * FROM secrets', true, false, '')",
    "a function's name in quotes": "SELECT \"load_extension\"('evil')",
    "large text": "SELECT hex(zeroblob(1000000000))",
    "randomblob": "SELECT randomblob(1000000000)",
    "printf": "SELECT printf('%1000000000d', 1)",
    "a hidden column": "SELECT rowid FROM customers",
    "a whole row": "SELECT customers FROM customers",
    "NATURAL": "SELECT * FROM customers NATURAL JOIN orders",
    "LATERAL": "SELECT * FROM customers, LATERAL (SELECT 1) x",
    "endless": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    "a placeholder": "SELECT :p1, ?, $1, @p1",
    "a type that is looked up": "SELECT CAST('customers' AS regclass)",
    "MATCH": "SELECT name FROM customers WHERE name MATCH 'x'",
    "an alias with quotes": 'SELECT name AS "a"" FROM secrets --" FROM customers',
    "letters that look alike": "SELECT value FROM \u0455ecrets",
    "full-width letters": "SELECT value FROM \uff53\uff45\uff43\uff52\uff45\uff54\uff53",
    "a zero byte": "SELECT name FROM customers\0; DROP TABLE customers",
    "a zero-width space": "SELECT value FROM sec\u200brets",
    "parentheses": "SELECT " + "(" * 500 + "1" + ")" * 500,
    "a long chain": "SELECT " + " + ".join(["1"] * 4000),
    "readings that double": "SELECT a FROM customers " + "JOIN customers " * 300,
    "readings that double, in parentheses": "SELECT a FROM customers " + "(STRUCT (" * 19,
    "every column of many": "SELECT * FROM "
    + " JOIN ".join(f"customers c{number} ON 1 = 1" for number in range(12))
    + ", "
    + ", ".join(f"({'SELECT * FROM customers'}) d{number}" for number in range(12)),
    "many casts": "SELECT name" + "::text" * 700 + " FROM customers",
    "many texts": "SELECT " + ", ".join(["'a'"] * 900) + " FROM customers",
    "many tables": "SELECT count(*) FROM " + ", ".join(f"customers c{number}" for number in range(20)),
}


@pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_refused(shop: Shop, sql: str) -> None:
    """Injection, stacking, comments, quoting, Unicode, catalogues, functions with side effects: none gets through."""
    with pytest.raises(InvalidArguments) as refused:
        shop.query(sql)

    assert CANARY not in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "' OR 1=1 --",
        "'; DROP TABLE customers; --",
        "\\' OR 1=1 --",
        "$1",
        "@p1",
        "%s",
        "\u02bc OR 1=1",
        "''",
        "/*",
        "{0}",
    ],
)
def test_text_in_a_query_is_text_whatever_it_holds(shop: Shop, text: str) -> None:
    """No text of an agent's stands in what is sent: it is a parameter."""
    escaped = text.replace("'", "''")

    assert shop.query(f"SELECT '{escaped}' AS said, count(*) AS n FROM customers WHERE name = '{escaped}'") == [
        {"said": text, "n": 0}
    ]
    assert shop.call("customers_search", filters=[{"field": "name", "value": text}])["records"] == []


@pytest.mark.parametrize("name", ['id" FROM secrets --', "value", "rowid", "id; DROP TABLE customers", "*", "ID"])
def test_a_name_in_an_argument_is_one_of_the_pinned_ones(shop: Shop, name: str) -> None:
    """Injection through every argument: names are an enumeration."""
    with pytest.raises(InvalidArguments):
        shop.call("customers_search", fields=[name])
    with pytest.raises(InvalidArguments):
        shop.call("customers_search", filters=[{"field": name, "value": 1}])
    with pytest.raises(InvalidArguments):
        shop.call("customers_search", order_by=[{"field": name}])
    with pytest.raises(InvalidArguments):
        shop.call("customers_read", key={name: 1, "id": 1})
    with pytest.raises(InvalidArguments):
        shop.call("customers_update", key={"id": 1}, values={name: 1})


def test_a_column_beyond_the_decision_is_not_read_by_any_way(shop: Shop) -> None:
    """Fields of the decision reach the database, in whatever part of a query a column stands."""
    shop.touched = {"customers": Scope(frozenset({"id", "name"}))}
    for sql in (
        "SELECT salary FROM customers",
        "SELECT * FROM customers",
        "SELECT name FROM customers WHERE salary > 800",
        "SELECT name FROM customers ORDER BY salary",
        "SELECT count(*) FROM customers GROUP BY salary",
        "SELECT o.id FROM orders o JOIN customers c USING (id) WHERE c.salary IS NOT NULL",
        "WITH c AS (SELECT * FROM customers) SELECT name FROM c",
        "SELECT name, row_number() OVER (ORDER BY salary) AS n FROM customers",
        "SELECT o.id FROM orders o WHERE o.total < (SELECT max(salary) FROM customers)",
    ):
        with pytest.raises(AccessDenied):
            shop.query(sql)
    shop.take_back()


def test_understanding_ends_after_so_many_steps(tables: Tables) -> None:
    """A text that would hold the parser up for hours is refused after few steps for each token."""
    steps = 0
    parser = bounded._parser("sqlite")
    went = parser._advance

    def counted(self: Any, *positional: Any, **named: Any) -> None:
        nonlocal steps
        steps += 1
        went(self, *positional, **named)

    with patch.object(parser, "_advance", counted), pytest.raises(InvalidArguments):
        understand("SELECT a FROM customers " + "LEFT JOIN orders o " * 200, tables)

    assert steps < 5000


def test_an_endless_query_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless queries: the progress handler ends what the parser cannot foresee."""
    with asyncio.Runner() as runner:
        shop = sqlite_shop(tmp_path, runner)
        monkeypatch.setattr(shop.session, "_limits", Limits(total_seconds=0.05))  # what is pinned may take its time
        with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
            connection.executemany("INSERT INTO customers (name) VALUES (?)", [("x",)] * 300)
        endless = "SELECT count(*) FROM " + ", ".join(f"customers c{number}" for number in range(12))

        with pytest.raises(UpstreamRejected) as refused:
            shop.query(endless)

    assert "narrower" in refused.value.message


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM customers",
        "UPDATE customers SET name = 'x'",
        "CREATE TABLE stolen (x)",
        "ATTACH ':memory:' AS other",
        "PRAGMA writable_schema = ON",
        "SELECT value FROM secrets",
        "SELECT sql FROM sqlite_schema",
        "SELECT load_extension('evil')",
        "SELECT salary FROM customers",
        "WITH c0 AS (SELECT value FROM secrets) SELECT value FROM c0",
        "SELECT 1; SELECT 2",
    ],
)
def test_the_database_itself_refuses_what_a_mistake_of_ours_would_let_through(shop: Shop, statement: str) -> None:
    """Defence in depth: opened read-only, under an authorizer that knows what was decided."""
    permitted = Permitted({"customers": frozenset({"id", "name"})}, frozenset({"count"}), frozenset({"c0"}))

    async def asked() -> Any:
        return await shop.session.read(statement, [], 10, permitted)

    with pytest.raises(Upstream):
        shop.ask(asked())


def test_a_view_shows_its_own_columns_and_gives_no_way_to_its_tables(shop: Shop) -> None:
    """A view is a resource of its own: whoever made it has decided what it shows."""
    assert shop.query("SELECT name FROM names WHERE id = 1") == [{"name": "Ada"}]

    for sql in ("SELECT salary FROM names", "SELECT names.salary FROM names", "SELECT customers.name FROM names"):
        with pytest.raises(InvalidArguments):
            shop.query(sql)


def test_a_database_error_tells_no_value_and_no_name(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Error texts that leak values: the database's own words reach neither an agent nor the log."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Refusal) as refused:
        shop.call("customers_create", values={"id": 1, "name": "CANARY-value"})
    with pytest.raises(InvalidArguments):
        shop.query("EXPLAIN SELECT 'CANARY-value'")

    assert "CANARY" not in f"{refused.value.message} {refused.value.detail} {caplog.text}"
    assert refused.value.__cause__ is None


# --- Whatever is asked -----------------------------------------------------------------------------------------------

COLUMNS = {
    "customers": ["id", "name", "email", "region", "salary"],
    "orders": ["id", "customer_id", "total", "status", "placed"],
    "secrets": ["id", "value"],
    "sqlite_master": ["name", "sql"],
}
ALIASES = ["a", "b", "c", "t0", "c0", "customers", "orders", "secrets", "sqlite_master"]
Sources = list[tuple[str, list[str]]]
"""What can be named at a place: aliases, and the columns of each."""


@st.composite
def expressions(draw: st.DrawFn, around: Sources, deep: int) -> str:
    """Return an expression over what can be named there, and now and then over what cannot."""
    kind = draw(st.integers(0, 8 if deep else 3))
    if kind <= 2:
        alias, columns = draw(st.sampled_from(around))
        column = draw(st.sampled_from(columns))
        return column if draw(st.integers(0, 5)) == 0 else f"{alias}.{column}"
    if kind == 3:
        return draw(st.sampled_from(["1", "'x'", "NULL", "2.5", "secrets.value", "rowid"]))
    if kind == 4:
        return f"({draw(selects(around, deep - 1))[0]})"
    if kind == 5:
        return f"EXISTS ({draw(selects(around, deep - 1))[0]})"
    forms = ["max({0})", "count({0})", "{0} = {1}", "coalesce({0}, {1})", "CASE WHEN {0} THEN {1} END", "{0} || {1}"]
    one, other = (draw(expressions(around, deep - 1)) for _ in range(2))
    return draw(st.sampled_from(forms)).format(one, other)


@st.composite
def selects(draw: st.DrawFn, outer: Sources, deep: int = 2, most: int = 1) -> tuple[str, list[str]]:
    """Return a SELECT, and the names of its columns."""
    begun, local, sources, known = "", [], [], dict(COLUMNS)
    aliases = draw(st.permutations(ALIASES))
    if deep and draw(st.integers(0, 2)) == 0:
        inner, columns = draw(selects([], deep - 1, 2))
        begun, known = f"WITH {aliases[-1]} AS ({inner}) ", {**known, aliases[-1]: columns}
    for alias in aliases[: draw(st.integers(1, 2))]:
        if deep and draw(st.integers(0, 4)) == 0:
            inner, columns = draw(selects([], deep - 1, 2))
            source = f"({inner})"
        else:
            source = draw(st.sampled_from(sorted(known))) if draw(st.integers(0, 9)) == 0 else ""
            source = source or draw(st.sampled_from(["customers", "orders", *([aliases[-1]] if begun else [])]))
            columns = known[source]
        sources.append(f"{source} AS {alias}")
        local.append((alias, columns))
    around = [*local, *outer]
    number = draw(st.integers(1, most))
    chosen = [f"{draw(expressions(around, deep))} AS x{place}" for place in range(number)]
    if most > 1 and draw(st.integers(0, 5)) == 0:
        alias, columns = draw(st.sampled_from(local))
        chosen, names = [f"{alias}.*"], columns
    else:
        names = [f"x{place}" for place in range(number)]
    joined = draw(st.sampled_from([", ", " JOIN ", " LEFT JOIN "]))
    text = f"{begun}SELECT {', '.join(chosen)} FROM {joined.join(sources)}"
    text += " ON 1 = 1" if "JOIN" in joined and len(sources) > 1 else ""
    for word in ("WHERE", "ORDER BY"):
        if draw(st.integers(0, 2)) == 0 and (word == "WHERE" or most > 1):
            text += f" {word} {draw(expressions(around, deep))}"
    return text, names


@pytest.fixture(scope="module")
def judge() -> Iterator[sqlite3.Connection]:
    """Lend a database that has the same tables, and is watched."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA + ROWS)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def tables(shop: Shop) -> Tables:
    """Map the tables, without the view, whose own reads would be among those that are watched."""
    resources = {name: table for name, table in RESOURCES.items() if name != "names"}
    return Tables.mapped(resources, read_snapshot(shop.snapshot))


def watched(judge: sqlite3.Connection, text: str, parameters: list[Any]) -> set[tuple[str, str]]:
    """Run a statement, and return every column that it reads, as SQLite says it."""
    read: set[tuple[str, str]] = set()
    others: list[int] = []

    def note(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_READ:
            read.add((str(first), str(second)))
        elif action not in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION}:
            others.append(action)
        return sqlite3.SQLITE_OK

    judge.set_authorizer(note)
    try:
        judge.execute(text, {f"p{number}": one for number, one in enumerate(parameters, 1)}).fetchall()
    finally:
        judge.set_authorizer(None)
    assert not others
    return {(table, column) for table, column in read if column}


@settings(max_examples=30)
@given(selected=selects([], most=2))
def test_no_statement_reads_a_column_that_it_was_not_decided_by(
    judge: sqlite3.Connection, tables: Tables, selected: tuple[str, list[str]]
) -> None:
    """The law of this connector: whatever is asked, what is read is among what was named for the decision."""
    judge_one(judge, tables, selected[0])


@pytest.mark.slow
@settings(max_examples=1500)
@given(selected=selects([], most=3))
def test_none_of_many_statements_does(
    judge: sqlite3.Connection, tables: Tables, selected: tuple[str, list[str]]
) -> None:
    """The same law, looked at for longer."""
    judge_one(judge, tables, selected[0])


def judge_one(judge: sqlite3.Connection, tables: Tables, sql: str) -> None:
    """Compare what a statement reads with what is named for its decision."""
    try:
        statement = understand(sql, tables)
        rendering = Rendering("sqlite")
        text = rendering.text(statement.rewritten(lambda _: [], limit=3))
        read = watched(judge, text, rendering.parameters)
    except InvalidArguments as refused:
        event(f"not understood: {refused.message[:60]}")
        return
    except sqlite3.Error as error:
        event(f"SQLite: {str(error)[:20]}")
        return
    event("run")

    decided = {(resource, column) for resource, columns in statement.touched.items() for column in columns}
    assert read <= decided
    assert {table for table, _ in read} <= {"customers", "orders"}


def test_the_judge_sees_what_is_read(judge: sqlite3.Connection, tables: Tables) -> None:
    """A test that cannot fail is a defect: the same watch finds what the agent's own text would have read."""
    sql = "SELECT (SELECT max(salary) FROM customers) AS m, id FROM orders"
    statement = understand(sql, tables)
    rendering = Rendering("sqlite")
    text = rendering.text(statement.rewritten(lambda _: [], limit=3))

    assert watched(judge, sql, []) == {("customers", "salary"), ("orders", "id")}
    assert watched(judge, text, rendering.parameters) == {("customers", "salary"), ("orders", "id")}
    assert watched(judge, "SELECT value FROM secrets", []) == {("secrets", "value")}
