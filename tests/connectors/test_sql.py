"""The SQL connector on SQLite: tables read, searched, queried freely and written by key, within each call's scope."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.connector import Comparison, ConnectorDocument, Scope
from broker.errors import (
    AccessDenied,
    CursorInvalid,
    EgressDenied,
    InvalidArguments,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from connectors.sql import CONNECTOR
from tests.support.sql import RESOURCES, Shop, sqlite_shop

NORTH = Scope(filters=(Comparison("region", "=", "north"),))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Open a shop of the test's own."""
    with asyncio.Runner() as runner:
        yield sqlite_shop(tmp_path, runner, total_seconds=5)


def test_tables_are_pinned_with_columns_types_and_keys(shop: Shop) -> None:
    """Issue 6: the snapshot is tables, columns, types and keys."""
    orders = shop.snapshot["objects"]["orders"]

    assert orders["key"] == ["id"]
    assert [(one["name"], one["kind"]) for one in orders["columns"]] == [
        ("id", "integer"),
        ("customer_id", "integer"),
        ("total", "number"),
        ("status", "string"),
        ("placed", "moment"),
    ]
    assert shop.snapshot["objects"]["names"]["view"]
    assert shop.probe() == "opened; 3 tables"


def test_a_table_that_is_not_there_is_named_when_pinning(shop: Shop) -> None:
    """Issue 6: what cannot be pinned says what to look at."""
    shop.document = shop.document.model_copy(update={"resources": {"wrong": "wrongs"}})

    with pytest.raises(UpstreamNotFound) as refused:
        shop.pin()

    assert "'wrongs'" in refused.value.message


def test_a_search_goes_on_page_by_page(shop: Shop) -> None:
    """Issue 6: pages do not overlap, and a cursor is of no use to another search."""
    first = shop.call("customers_search", fields=["name"], limit=2, count=True)
    second = shop.call("customers_search", fields=["name"], limit=2, cursor=first["cursor"])

    assert [one["name"] for one in first["records"] + second["records"]] == ["Ada", "Bob", "Cleo"]
    assert (first["total"], first["more"], second["more"]) == (3, True, False)
    with pytest.raises(CursorInvalid):
        shop.call("customers_search", fields=["email"], limit=2, cursor=first["cursor"])


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([{"field": "region", "value": "north"}], ["Ada", "Cleo"]),
        ([{"field": "salary", "operator": ">", "value": 750}], ["Ada", "Bob"]),
        ([{"field": "name", "operator": "in", "value": ["Bob", "Cleo"]}], ["Bob", "Cleo"]),
        ([{"field": "email", "operator": "like", "value": "%b%@%"}], ["Bob"]),
        ([{"field": "email", "value": None}], []),
        ([{"field": "email", "operator": "!=", "value": None}], ["Ada", "Bob", "Cleo"]),
        ([{"field": "name", "value": "Ada' OR '1'='1"}], []),
    ],
    ids=["=", ">", "in", "like", "null", "not null", "quotes"],
)
def test_a_search_asks_by_conditions(shop: Shop, filters: list[dict[str, object]], names: list[str]) -> None:
    """Issue 6: values are parameters, whatever they hold."""
    assert [one["name"] for one in shop.call("customers_search", filters=filters)["records"]] == names


def test_a_row_is_read_by_its_key_and_only_within_the_scope(shop: Shop) -> None:
    """Filters of the decision reach the database: what is outside is as if it were not there."""
    assert shop.call("customers_read", key={"id": 2}, fields=["name"]) == {"record": {"name": "Bob"}}

    shop.scope = NORTH
    with pytest.raises(UpstreamNotFound):
        shop.call("customers_read", key={"id": 2})


def test_a_search_and_its_count_keep_to_the_scope(shop: Shop) -> None:
    """Filters, fields and record limits of the decision reach the database."""
    shop.scope = Scope(frozenset({"id", "name"}), 1, NORTH.filters)

    page = shop.call("customers_search", count=True)

    assert page["records"] == [{"id": 1, "name": "Ada"}]
    assert page["total"] == 2
    with pytest.raises(AccessDenied):
        shop.call("customers_search", filters=[{"field": "salary", "value": 900}])
    with pytest.raises(AccessDenied):
        shop.call("customers_search", order_by=[{"field": "email"}])


def test_a_table_is_described_as_far_as_it_may_be_seen(shop: Shop) -> None:
    """Issue 6: describe of tables that it may know of."""
    shop.scope = Scope(frozenset({"id", "name"}))

    described = shop.call("customers_describe")

    assert [one["name"] for one in described["fields"]] == ["id", "name"]
    assert described["key"] == ["id"]


def test_a_query_joins_groups_and_orders(shop: Shop) -> None:
    """Issue 6: free SELECT, with what an agent writes naturally."""
    found = shop.query(
        "WITH open AS (SELECT customer_id, total FROM orders WHERE status = 'open')\n"
        "SELECT c.name, SUM(o.total) AS sum, COUNT(*) FROM open o JOIN customers c ON c.id = o.customer_id -- all\n"
        "GROUP BY c.name ORDER BY 2 DESC"
    )

    assert found == [{"name": "Bob", "sum": 30, "count": 1}, {"name": "Ada", "sum": 10, "count": 1}]


def test_a_query_touches_what_it_names_anywhere(shop: Shop) -> None:
    """Issue 6: joins, subqueries, CTEs, views, and `*` expanded from the pinned snapshot."""
    every = ["email", "id", "name", "region", "salary"]

    assert shop.touches("SELECT * FROM customers") == {"customers": every}
    assert shop.touches("SELECT count(*) FROM customers") == {"customers": []}
    assert shop.touches("SELECT n.name FROM names n ORDER BY n.id") == {"names": ["id", "name"]}
    assert shop.touches(
        "WITH a AS (SELECT id k, salary s FROM customers) SELECT k FROM a WHERE EXISTS "
        "(SELECT 1 FROM orders o WHERE o.customer_id = a.k AND o.placed > '2026-01-01')"
    ) == {"customers": ["id", "salary"], "orders": ["customer_id", "placed"]}
    assert shop.touches("SELECT (SELECT max(salary) FROM customers) m UNION SELECT status FROM orders") == {
        "customers": ["salary"],
        "orders": ["status"],
    }


def test_a_query_sees_the_rows_and_as_many_as_the_decision_leaves(shop: Shop) -> None:
    """Filters and record limits of each part's decision reach the database."""
    shop.touched = {"customers": NORTH}
    assert shop.query("SELECT count(*) FROM customers") == [{"count": 2}]
    assert shop.query("SELECT c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer_id WHERE o.id = 3") == [
        {"name": None}
    ]

    shop.touched = {"customers": Scope(records=2)}
    page = shop.call("query_run", sql="SELECT name FROM customers ORDER BY name LIMIT 50")
    assert ([one["name"] for one in page["records"]], page["more"]) == (["Ada", "Bob"], True)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT group_concat(name) FROM customers",
        "SELECT a.name, b.name AS other FROM customers a, customers b",
        "WITH c AS (SELECT name FROM customers) SELECT a.name, b.name AS other FROM c a, c b",
        "SELECT name, lag(name) OVER (ORDER BY id) FROM customers",
        "SELECT name FROM customers UNION ALL SELECT email FROM customers",
    ],
)
def test_a_limit_of_records_is_not_got_round_by_gathering_several_in_a_row(shop: Shop, sql: str) -> None:
    """Record limits mean records: one row of a result holds one record of a table that is so limited."""
    assert shop.query(sql)

    shop.touched = {"customers": Scope(records=2)}
    with pytest.raises(AccessDenied):
        shop.query(sql)


def test_a_query_that_nobody_decided_reads_nothing(shop: Shop) -> None:
    """A connector whose touches were not decided gets scopes without fields: fail closed."""
    shop.touched = {"customers": Scope(frozenset())}

    with pytest.raises(AccessDenied):
        shop.query("SELECT name FROM customers")


def test_a_result_is_cut_at_the_budget(shop: Shop) -> None:
    """A list is cut before the largest result, and says so."""
    shop.most_bytes = 600

    page = shop.call("query_run", sql="SELECT name, email FROM customers")

    assert (len(page["records"]), page["more"]) == (2, True)


def test_a_row_is_created_changed_and_deleted_by_key(shop: Shop) -> None:
    """Writes only where the document turns them on, by typed tools."""
    made = shop.call("orders_create", values={"customer_id": 3, "total": 5})["key"]
    shop.call("orders_update", key=made, values={"status": "paid", "placed": None})
    assert shop.call("orders_read", key=made, fields=["status"]) == {"record": {"status": "paid"}}
    shop.call("orders_delete", key=made)

    with pytest.raises(UpstreamNotFound):
        shop.call("orders_delete", key=made)
    with pytest.raises(UpstreamRejected):
        shop.call("orders_create", values={"customer_id": 99, "total": 5})


def test_a_write_stays_within_the_scope(shop: Shop) -> None:
    """A row is neither written from outside the filters nor moved out of them."""
    shop.scope = Scope(frozenset({"id", "name", "region"}), None, NORTH.filters)

    with pytest.raises(UpstreamNotFound):
        shop.call("customers_update", key={"id": 2}, values={"name": "Robert"})
    with pytest.raises(AccessDenied):
        shop.call("customers_update", key={"id": 1}, values={"region": "south"})
    with pytest.raises(AccessDenied):
        shop.call("customers_create", values={"name": "Dan", "region": "south"})
    with pytest.raises(AccessDenied):
        shop.call("customers_update", key={"id": 1}, values={"salary": 1})
    with pytest.raises(UpstreamNotFound):
        shop.call("customers_delete", key={"id": 2})
    shop.call("customers_update", key={"id": 1}, values={"name": "Ada L."})
    shop.take_back()

    assert shop.query("SELECT name, region, salary FROM customers") == [
        {"name": "Ada L.", "region": "north", "salary": 900},
        {"name": "Bob", "region": "south", "salary": 800},
        {"name": "Cleo", "region": "north", "salary": 700},
    ]


def test_nothing_is_written_unless_the_document_says_so(shop: Shop) -> None:
    """Read by default: policies can speak of writing, and it is not built."""
    shop.document = shop.document.model_copy(update={"settings": {"writes": {"orders": ["create"]}}})

    built = {name for name, tool in shop.tools.items() if tool.tool.run is not None and not tool.tool.reads_only}

    assert built == {"orders_create"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"url": "https://db.example.com"}, "'url'"),
        ({"url": "postgresql://db.example.com/shop"}, "sqlite"),
        ({"resources": {"query": "customers"}}, "'query'"),
        ({"settings": {"writes": {"secrets": ["create"]}}}, "'secrets'"),
        ({"snapshot": None}, "'snapshot'"),
    ],
)
def test_a_document_that_does_not_fit_says_what_to_change(shop: Shop, change: dict[str, object], word: str) -> None:
    """Bad input gets a clear error naming the field."""
    document = shop.document.model_copy(update=change)

    with pytest.raises(ValueError, match=word):
        CONNECTOR.tools(document, shop.snapshot)


@pytest.mark.parametrize("url", ["postgresql://user:secret@db.example.com/x", "postgresql://h/d?host=evil", "sqlite:"])
def test_a_url_holds_no_credential_and_no_options(url: str) -> None:
    """A document holds no secret, and the place of a database is all that its URL says."""
    with pytest.raises(ValueError, match="url"):
        ConnectorDocument.model_validate({"type": "sql", "url": url, "resources": RESOURCES})


def test_a_file_that_is_not_there_is_not_made(shop: Shop, tmp_path: Path) -> None:
    """Opened for writing, SQLite would make one."""
    (tmp_path / "shop.db").unlink()

    with pytest.raises(UpstreamUnreachable):
        shop.call("orders_create", values={"customer_id": 1, "total": 1})
    assert not (tmp_path / "shop.db").exists()


def test_an_answer_over_the_cap_is_cut_at_the_database(tmp_path: Path) -> None:
    """Huge results: nothing larger than the connector's cap is gathered."""
    with asyncio.Runner() as runner:
        shop = sqlite_shop(tmp_path, runner, response_bytes=4000)
        shop.call("customers_create", values={"name": "x" * 3900})

        with pytest.raises(UpstreamTooLarge):
            shop.query("SELECT name, upper(name) AS again FROM customers")
        with pytest.raises(UpstreamTooLarge):
            shop.query("SELECT name || name AS twice FROM customers")


def test_a_session_of_a_database_calls_no_service(shop: Shop) -> None:
    """What egress opens is what the document names, and nothing else through it."""
    with pytest.raises(EgressDenied):
        asyncio.run(shop.session.call("GET", "/x"))
    with pytest.raises(InvalidArguments):
        shop.query("SELECT 1; SELECT 2")
