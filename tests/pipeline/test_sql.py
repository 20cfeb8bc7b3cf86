"""A database through the whole pipeline: documents, decision part by part, call, trail."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from broker.connector import Connector
from broker.connector.installed import find_connector
from broker.documents import load
from broker.documents.snapshot import Invalid
from broker.egress.database import sqlite
from broker.errors import AccessDenied, ApprovalNeeded, InvalidArguments
from connectors.sql import CONNECTOR
from tests.support.broker import Line, open_line
from tests.support.documents import ANALYST, HEAD, Written
from tests.support.notes import Notes
from tests.support.sql import ROWS, SCHEMA

SHOP = f"""{HEAD}kind: Connector
metadata: {{name: shop}}
spec:
  type: sql
  url: sqlite:data/shop.db
  resources: {{customers: customers, orders: orders, people: names}}
  snapshot: shop.snapshot.json
  settings: {{writes: {{orders: [update]}}}}
"""
POLICY = f"""{HEAD}kind: AgentPolicy
metadata: {{name: analyst-shop}}
spec:
  identity: {{workload: {ANALYST}}}
  tools:
    - resource: shop.customers
      actions: [read, search, describe]
      fields: [id, name, region]
      filter: region = 'north'
      max_records: 2
    - {{resource: shop.orders, actions: [search, update], deny: [delete]}}
    - {{resource: shop.query, actions: [run]}}
"""


class WithSql(Notes):
    """The notes' connector, and the one for databases."""

    def find(self, name: str) -> Connector:
        """Return either."""
        return CONNECTOR if name == "sql" else super().find(name)


@pytest.fixture
def shop(written: Written) -> Written:
    """Write the shop beside the other documents."""
    (written.directory / "data").mkdir(exist_ok=True)
    with closing(sqlite3.connect(written.directory / "data/shop.db")) as connection:
        connection.executescript(SCHEMA + ROWS)
    written.put("shop.yaml", SHOP)
    written.put("shop-policy.yaml", POLICY)
    written.put("shop.snapshot.json", json.dumps(_snapshot()))
    return written


def _snapshot() -> dict[str, Any]:
    def table(name: str, key: list[str], *columns: str) -> dict[str, Any]:
        kinds = {"id": "integer", "customer_id": "integer", "total": "number", "salary": "number"}
        described = [{"name": one, "type": "", "kind": kinds.get(one, "string")} for one in columns]
        return {"schema_name": "main", "name": name, "view": not key, "key": key, "columns": described}

    return {
        "service": "sql",
        "dialect": "sqlite",
        "objects": {
            "customers": table("customers", ["id"], "id", "name", "email", "region", "salary"),
            "orders": table("orders", ["id"], "id", "customer_id", "total", "status", "placed"),
            "names": table("names", [], "id", "name"),
        },
    }


def in_line(shop: Written, case: Any) -> None:
    """Run a case with the parts of a broker."""

    async def main() -> None:
        async with open_line(shop, WithSql()) as line:
            await case(line)

    anyio.run(main, backend_options={"use_uvloop": True})


def test_a_query_is_decided_by_every_table_that_it_touches_and_is_on_record(shop: Written) -> None:
    """Issue 6: every table and column that a statement touches is decided by policy, part by part."""

    async def case(line: Line) -> None:
        joined = "SELECT c.name, o.total FROM orders o LEFT JOIN customers c ON c.id = o.customer_id ORDER BY o.id"
        answer = await line.call("shop_query_run", {"sql": joined})
        rules = line.story(answer.call_id)["decided"]["policy"]["rules"]

        assert json.loads(answer.text)["records"] == [{"name": "Ada", "total": 10}, {"name": "Ada", "total": 20}]
        assert len(rules) == 3
        assert line.outcome(answer.call_id)["status"] == "released"
        for sql, wanted in (
            ("SELECT email FROM customers", AccessDenied),
            ("SELECT count(*) FROM customers WHERE salary > 1", AccessDenied),
            ("SELECT * FROM customers", AccessDenied),
            ("SELECT name FROM people", AccessDenied),
            ("SELECT value FROM secrets", InvalidArguments),
            ("SELECT count(*) FROM customers a, customers b", AccessDenied),
        ):
            assert isinstance(await line.refused("shop_query_run", {"sql": sql}), wanted)
        counted = await line.call("shop_query_run", {"sql": "SELECT count(*) FROM customers"})
        assert json.loads(counted.text)["records"] == [{"count": 2}]

    in_line(shop, case)


def test_a_table_is_read_within_its_rule_and_written_where_two_documents_say_so(shop: Written) -> None:
    """Read by default; a write needs the connector's document and the policy."""

    async def case(line: Line) -> None:
        found = await line.call("shop_customers_search", {"limit": 50})
        await line.call("shop_orders_update", {"key": {"id": 1}, "values": {"status": "paid"}})
        refused = await line.refused("shop_orders_delete", {"key": {"id": 1}})

        assert [one["name"] for one in json.loads(found.text)["records"]] == ["Ada", "Cleo"]
        assert isinstance(refused, AccessDenied)
        assert (await line.refused("shop_orders_create", {"values": {}})).code == "access_denied"
        assert line.records(kind="finished")[0]["credential"] is None

    in_line(shop, case)
    with closing(sqlite3.connect(shop.directory / "data/shop.db")) as connection:
        assert connection.execute("SELECT status FROM orders WHERE id = 1").fetchone() == ("paid",)


def test_a_write_that_is_cut_off_is_undone_and_never_said_to_be_cancelled(
    shop: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a lock in a thread that nobody can stop: it must not be final after the trail said otherwise."""
    begun, ended, opened = threading.Event(), threading.Event(), sqlite._opened

    @contextmanager
    def noted(*arguments: Any) -> Iterator[sqlite3.Connection]:
        try:
            with opened(*arguments) as connection:
                begun.set()
                yield connection
        finally:
            ended.set()

    monkeypatch.setattr(sqlite, "_opened", noted)

    async def case(line: Line) -> None:
        with closing(sqlite3.connect(shop.directory / "data/shop.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            change = {"key": {"id": 1}, "values": {"status": "paid"}}
            calling = asyncio.create_task(line.call("shop_orders_update", change))
            await anyio.to_thread.run_sync(begun.wait)
            calling.cancel()
            await asyncio.wait([calling])
            other.execute("ROLLBACK")
            await anyio.to_thread.run_sync(ended.wait)
            await line.parts.recorder.note("mark")

            assert line.last_status() == "outcome_unknown"
            assert other.execute("SELECT status FROM orders WHERE id = 1").fetchone() == ("open",)

    in_line(shop, case)


def test_an_approval_of_a_table_is_an_approval_of_a_query_on_it(shop: Written) -> None:
    """What a person must approve is not reached through free SQL."""
    shop.put(
        "shop-policy.yaml", POLICY.replace("actions: [search, update]", "approval: {by: [admin]}, actions: [search]")
    )

    async def case(line: Line) -> None:
        assert isinstance(await line.refused("shop_query_run", {"sql": "SELECT total FROM orders"}), ApprovalNeeded)

    in_line(shop, case)


def test_the_connector_is_found_by_its_entry_point() -> None:
    """architecture.md: connectors come by entry point."""
    assert find_connector("sql") is CONNECTOR


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql://10.0.0.1:99999/x", "postgresql://host"),
        ("https://db.example.com", "'url' must be that of a database"),
    ],
)
def test_a_document_with_a_wrong_url_is_refused_with_the_place(shop: Written, url: str, word: str) -> None:
    """Bad input gets an error that names file, line and field."""
    shop.put("shop.yaml", SHOP.replace("sqlite:data/shop.db", url))

    with pytest.raises(Invalid) as refused:
        load(Path(shop.directory), WithSql().find)

    assert any(word in str(problem) and "shop.yaml" in str(problem) for problem in refused.value.problems)
