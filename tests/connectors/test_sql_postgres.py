"""The SQL connector on the machine's own PostgreSQL: over TLS, as an account that reads, and as one that could do all.

A decision must hold whatever the account at the database may do: every attack is made with a superuser's rights.
"""

import asyncio
import os
from collections.abc import Iterator

import pytest

from broker.connector import Comparison, Scope
from broker.egress import Limits, Reach
from broker.egress.database import DatabaseSession
from broker.errors import (
    AccessDenied,
    EgressDenied,
    GrantMisplaced,
    InvalidArguments,
    Refusal,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tests.attacks.test_connectors_sql import CANARY, REFUSED
from tests.support.broker import until
from tests.support.postgres import OWNER, PASSWORD, READER, Cluster, programs
from tests.support.sql import POSTGRES, POSTGRES_AFTER, ROWS, Shop, postgres_shop, session_of

pytestmark = pytest.mark.slow

NORTH = (Comparison("region", "=", "north"),)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start PostgreSQL, with the shop in it."""
    where = programs()
    if where is None:
        if os.environ.get("AAM_CI"):
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with Cluster(where) as cluster:
        cluster.run(POSTGRES + ROWS + POSTGRES_AFTER)
        yield cluster


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """Keep one loop."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def shared(cluster: Cluster, runner: asyncio.Runner) -> Shop:
    """Open the shop as the reader."""
    return postgres_shop(cluster, runner, READER, total_seconds=10)


@pytest.fixture
def shop(shared: Shop) -> Shop:
    """Lend the reader's shop; scopes are taken back."""
    shared.take_back()
    return shared


@pytest.fixture(scope="module")
def owned(cluster: Cluster, runner: asyncio.Runner) -> Shop:
    """Open the shop as a superuser."""
    return postgres_shop(cluster, runner, OWNER, total_seconds=10)


def test_tables_are_pinned_with_what_the_account_may_see(shop: Shop) -> None:
    """Issue 6: the snapshot is tables, columns, types and keys; bytes do not leave."""
    odd = shop.snapshot["objects"]["Odd Things"]

    assert odd["key"] == ["Key"]
    assert {one["name"]: one["kind"] for one in odd["columns"]} == {
        "Key": "string",
        "firstName": "string",
        "mood": "string",
        "at": "moment",
        "tags": "json",
        "extra": "json",
        "rate": "number",
        "yes": "boolean",
        "twice": "integer",
    }
    assert shop.probe().startswith("signed in as reader; PostgreSQL ")


def test_values_of_every_type_are_plain_json(shop: Shop) -> None:
    """Exact numbers as texts, moments in ISO 8601, arrays and JSON as their text."""
    found = shop.call("odd_search")["records"]

    assert found == [
        {
            "Key": "00000000-0000-0000-0000-000000000001",
            "firstName": "Ada",
            "mood": "glad",
            "at": "2026-01-02T03:04:05+00:00",
            "tags": '["a","b"]',
            "extra": '{"a":1}',
            "rate": 1.5,
            "yes": True,
            "twice": 2,
        }
    ]
    assert shop.call("odd_read", key={"Key": found[0]["Key"]}, fields=["mood"]) == {"record": {"mood": "glad"}}
    assert shop.query(
        'SELECT o."firstName" FROM "Odd Things" AS o WHERE o.mood = \'glad\' AND o."Key" IS NOT NULL'
    ) == [{"firstName": "Ada"}]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT name FROM customers WHERE name ILIKE 'a%'", [{"name": "Ada"}]),
        ("SELECT string_agg(name, ', ' ORDER BY name) AS n FROM customers", [{"n": "Ada, Bob, Cleo"}]),
        (
            "SELECT coalesce(region, 'x') AS r, count(*) FROM customers GROUP BY coalesce(region, 'x') ORDER BY 1",
            [{"r": "north", "count": 2}, {"r": "south", "count": 1}],
        ),
        (
            """SELECT extract(month FROM placed)::int AS m, sum(total) FROM orders WHERE placed > '2026-01-15'
            AND placed < date '2026-02-01' + interval '7 days' GROUP BY 1""",
            [{"m": 2, "sum": "20.00"}],
        ),
        ("SELECT DISTINCT ON (region) region, name FROM customers ORDER BY region, name DESC LIMIT 1", [
            {"region": "north", "name": "Cleo"}
        ]),
        ("SELECT total FROM orders WHERE total % 20 = 10 ORDER BY total OFFSET 1", [{"total": "30.00"}]),
        ("SELECT name FROM names WHERE id = ANY (SELECT customer_id FROM orders WHERE status = 'paid')", [
            {"name": "Ada"}
        ]),
        ("SELECT date_trunc('month', placed)::date AS m FROM orders WHERE id = 1", [{"m": "2026-01-01"}]),
        ("SELECT '\\'' || '$1' || '%s' AS said", [{"said": "\\$1%s"}]),
        ("WITH pg_authid AS (SELECT 1 AS a) SELECT a FROM pg_authid", [{"a": 1}]),
        ("SELECT lower(name) AS l FROM customers WHERE id = 1", [{"l": "ada"}]),
    ],
)  # fmt: skip
def test_a_query_says_what_postgresql_says(shop: Shop, sql: str, rows: list[dict[str, object]]) -> None:
    """Issue 6: free SELECT in PostgreSQL's own words; no function of anybody else's stands in for one."""
    if "\\'" in sql:
        sql = sql.replace("'\\''", "'\\'")

    assert shop.query(sql) == rows


def test_the_decision_reaches_the_database(shop: Shop) -> None:
    """Filters, fields and record limits of the decision reach the database."""
    shop.touched = {"customers": Scope(None, None, NORTH)}
    assert shop.query("SELECT count(*) FROM customers") == [{"count": 2}]

    shop.touched = {"customers": Scope(records=1)}
    assert len(shop.query("SELECT name FROM customers")) == 1
    with pytest.raises(AccessDenied):
        shop.query("SELECT array_agg(name) FROM customers")

    shop.touched = {"customers": Scope(frozenset({"id", "name"}))}
    with pytest.raises(AccessDenied):
        shop.query("SELECT name FROM customers WHERE salary > 1")


def test_an_error_tells_nothing_of_rows_beyond_the_filter(shop: Shop) -> None:
    """A condition that fails on one row must not be asked of rows that are not there for this agent."""
    shop.touched = {"customers": Scope(None, None, NORTH)}

    assert len(shop.query("SELECT name FROM customers WHERE 1 / (salary - 800) IS NOT NULL")) == 2
    shop.take_back()
    with pytest.raises(UpstreamRejected):
        shop.query("SELECT name FROM customers WHERE 1 / (salary - 800) IS NOT NULL")


def test_rows_are_written_by_key_within_the_scope(shop: Shop) -> None:
    """Writes by typed tools, one row, in one transaction that is undone where it would leave the scope."""
    shop.scope = Scope(None, None, NORTH)
    with pytest.raises(AccessDenied):
        shop.call("customers_create", values={"name": "Dan", "region": "south"})
    with pytest.raises(UpstreamNotFound):
        shop.call("customers_update", key={"id": 2}, values={"name": "Robert"})
    with pytest.raises(AccessDenied):
        shop.call("customers_update", key={"id": 1}, values={"region": "south"})
    made = shop.call("customers_create", values={"name": "Dan", "region": "north", "salary": "12.5"})["key"]
    shop.call("customers_update", key=made, values={"salary": None})
    shop.call("customers_delete", key=made)
    shop.take_back()

    assert shop.query("SELECT name, region FROM customers ORDER BY id") == [
        {"name": "Ada", "region": "north"},
        {"name": "Bob", "region": "south"},
        {"name": "Cleo", "region": "north"},
    ]
    with pytest.raises(UpstreamRejected) as refused:
        shop.call("orders_create", values={"customer_id": 99, "total": 5})
    assert "99" not in f"{refused.value.message}{refused.value.detail}"


@pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED)
def test_an_attack_is_refused_though_the_account_could(owned: Shop, sql: str) -> None:
    """Injection, stacking, comments, quoting, Unicode, catalogues, functions with side effects: none gets through."""
    with pytest.raises(InvalidArguments):
        owned.query(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT public.leak()",
        "SELECT leak() FROM customers",
        "SELECT (customers).leak FROM customers",
        "SELECT c.leak FROM customers c",
        "SELECT ctid FROM customers",
        "SELECT xmin FROM customers",
        "SELECT tableoid::regclass FROM customers",
        "SELECT current_setting('data_directory')",
        "SELECT current_user",
        "SELECT version()",
        "SELECT has_table_privilege('secrets', 'SELECT')",
        "SELECT lo_export(1, '/tmp/x')",
        "SELECT pg_terminate_backend(1)",
        "SELECT nextval('customers_id_seq')",
        "SELECT name OPERATOR(public.=) 'x' FROM customers",
        'SELECT U&"\\0076alue" FROM secrets',
        "SELECT E'\\x27' FROM customers",
        "SELECT $$x$$",
        "SELECT query_to_xml('SELECT value FROM secrets', true, true, '')",
        "TABLE secrets",
        "VALUES (1)",
        "SELECT * FROM ONLY secrets",
        "SELECT * FROM customers TABLESAMPLE system (10)",
        "SELECT * FROM unnest(ARRAY[1])",
        'SELECT name COLLATE "C" FROM customers',
        "MERGE INTO customers USING orders ON true WHEN MATCHED THEN DELETE",
        "SET ROLE postgres",
        "LISTEN x",
        "BEGIN",
    ],
)
def test_what_only_postgresql_has_is_refused_too(owned: Shop, sql: str) -> None:
    """What is not on the list of known parts is refused, also in this dialect's own words."""
    with pytest.raises(InvalidArguments):
        owned.query(sql)


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("DELETE FROM public.customers", UpstreamForbidden),
        ("SELECT nextval('public.customers_id_seq')", UpstreamForbidden),
        ("SELECT 1; SELECT 2", UpstreamRejected),
        ("SELECT leak()", UpstreamRejected),
        ("SELECT pg_sleep(60)", UpstreamRejected),
    ],
)
def test_the_database_itself_refuses_what_a_mistake_of_ours_would_let_through(
    cluster: Cluster, runner: asyncio.Runner, statement: str, refusal: type[Refusal]
) -> None:
    """Defence in depth: a read-only transaction, one statement, nothing in the search path, and a time limit."""
    session = session_of(cluster, OWNER, total_seconds=1)

    with pytest.raises(refusal):
        runner.run(session.read(statement, [], 1))


def test_an_endless_query_is_ended_by_the_server(cluster: Cluster, runner: asyncio.Runner) -> None:
    """Endless queries: statement_timeout ends them, and nothing of them goes on."""
    shop = postgres_shop(cluster, runner, READER, total_seconds=1)
    endless = "SELECT count(*) FROM " + ", ".join(f"orders o{number}" for number in range(12))

    cluster.run("INSERT INTO orders SELECT number, 1, 1 FROM generate_series(1000, 3000) number")

    with pytest.raises(UpstreamRejected):
        shop.query(endless)

    cluster.run("DELETE FROM orders WHERE id >= 1000")
    running = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' AND state = 'active'"
    until(lambda: cluster.run(running) == "0\n")  # it says that it ends a statement before it has


def test_a_call_that_is_cut_off_is_ended_at_the_server(cluster: Cluster, runner: asyncio.Runner) -> None:
    """Cancelling reaches the database."""
    session = session_of(cluster, OWNER, total_seconds=60)

    async def cut() -> None:
        task = asyncio.ensure_future(session.read("SELECT pg_sleep(60)", [], 1))
        running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
        while await asyncio.to_thread(cluster.run, running) == "0\n":
            assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while await asyncio.to_thread(cluster.run, running) != "0\n":
            pass

    runner.run(asyncio.wait_for(cut(), 120))
    assert session.sent


def test_the_server_must_prove_itself_and_the_address_be_allowed(cluster: Cluster, runner: asyncio.Runner) -> None:
    """TLS by default, checked by the host's name; addresses by egress's rules; wrong accounts say so without a word."""

    def refused(session: DatabaseSession) -> Refusal:
        with pytest.raises(Refusal) as refusal:
            runner.run(session.read("SELECT 1", [], 1))
        assert PASSWORD not in f"{refusal.value.message} {refusal.value.detail}"
        assert refusal.value.__cause__ is None
        assert refusal.value.__context__ is None
        return refusal.value

    plain = cluster.url(options="?sslmode=disable")
    place = session_of(cluster, READER)._place
    own = session_of(cluster, READER)._authorization
    elsewhere = DatabaseSession(place, Reach(frozenset({"db.example.com:5432"})), Limits(), cluster.ca, own)
    private = DatabaseSession(place, Reach(frozenset({place.origin})), Limits(), cluster.ca, own)

    assert isinstance(refused(session_of(cluster, READER, ca=None)), UpstreamUnreachable)
    assert isinstance(refused(session_of(cluster, READER, password="wrong")), UpstreamUnauthorized)
    assert isinstance(refused(session_of(cluster, "stranger")), UpstreamUnauthorized)
    assert isinstance(refused(session_of(cluster, "")), GrantMisplaced)
    assert isinstance(refused(session_of(cluster, READER, url=cluster.url("nothing"))), UpstreamFailed)
    assert isinstance(refused(elsewhere), EgressDenied)
    assert isinstance(refused(private), EgressDenied)
    assert len(runner.run(session_of(cluster, READER, url=plain).read("SELECT 1", [], 1)).rows) == 1


def test_nothing_of_the_shop_has_left(cluster: Cluster, owned: Shop) -> None:
    """After every attack of this file the tables are as they were, and the canary is where it was."""
    assert cluster.run("SELECT value FROM secrets") == f"{CANARY}\n"
    assert cluster.run("SELECT count(*) FROM customers") == "3\n"
    assert "secrets" not in str(owned.snapshot)
