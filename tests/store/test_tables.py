import dataclasses
import importlib
import json
import sqlite3
from collections.abc import Sequence

import pytest

from broker.store import Connection, GrantRow, GrantStatus, Store, Transaction

pytestmark = pytest.mark.anyio

GRANT = GrantRow("g1", "crm", "broker", "jwt-bearer", "active", "api", "{}", 1, "k1", "SEALED" * 40, "day 1", "day 1")
NEWER = dataclasses.replace(GRANT, id="g2", connector="other", created="day 2", scopes="", version=7)


async def test_a_reader_sees_one_state_however_long_it_reads(store: Store) -> None:
    """store: readers never wait for the writer, and what they see does not move; a setting is as it was set last."""
    await store.commits.commit(lambda change: store.settings.put(change, "name", "old"))

    with store.reading() as connection:
        before = [store.settings.get(connection, name) for name in ("name", "nothing")]
        await store.commits.commit(lambda change: store.settings.put(change, "name", "new"))
        after = store.settings.get(connection, "name")

    assert (before, after) == (["old", None], "old")
    assert store.read(lambda connection: store.settings.get(connection, "name")) == "new"


@pytest.mark.parametrize("statement", ["DELETE FROM settings", "DROP TABLE records", "PRAGMA user_version = 1"])
def test_a_reader_cannot_write(store: Store, statement: str) -> None:
    """architecture.md, one writer: everything durable goes through the commit queue."""
    with store.reading() as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute(statement)


@pytest.mark.parametrize("page", [1, 3, 10, 500])
async def test_records_are_read_in_order_a_page_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """trail.py, `bodies`: start to stop - 1, whatever the page; a trail of any size is read in little memory."""
    monkeypatch.setattr(importlib.import_module("broker.store.trail"), "_PAGE", page)
    await store.commits.commit(lambda change: [store.trail.append(change, {}) for _ in range(10)])
    statements: list[str] = []

    def read(connection: Connection, start: int, stop: int) -> list[int]:
        return [json.loads(body)["seq"] for body in store.trail.bodies(connection, start, stop)]

    with store.reading() as connection:
        for start, stop in ((0, 10), (0, 1), (3, 7), (9, 99), (10, 99), (5, 5)):
            assert read(connection, start, stop) == list(range(10))[start:stop]
        connection.set_trace_callback(statements.append)
        next(store.trail.bodies(connection, 0, 10))

    assert [statement.rpartition(" ")[2] for statement in statements] == [str(page)]


async def test_a_call_is_open_until_it_is_closed(store: Store) -> None:
    """audit.md C5: an intent without an outcome is evidence and must be shown, the oldest first."""

    def change(transaction: Transaction) -> None:
        for call, decided in (("a", "03"), ("b", "02"), ("c", "01")):
            store.trail.open_call(transaction, call, decided)
        store.trail.close_call(transaction, "b")

    await store.commits.commit(change)

    assert store.read(store.trail.open_calls) == [("c", "01"), ("a", "03")]


async def test_a_calls_records_are_found_by_its_id(store: Store) -> None:
    """Issue 2, What a user can do: `aam trail show CALL`."""
    of = ["a", "b", None, "a"]

    await store.commits.commit(lambda change: [store.trail.append(change, {"call_id": call}) for call in of])

    with store.reading() as connection:
        assert [json.loads(body)["seq"] for body in store.trail.of_call(connection, "a")] == [0, 3]
        assert store.trail.of_call(connection, "c") == []


async def test_a_revoked_grant_is_revoked_for_good_and_its_sealed_part_is_gone(store: Store) -> None:
    """grants.py, `set_status`: who holds the key cannot open it again, from the table or the file."""
    statuses: Sequence[GrantStatus] = ("revoked", "active", "reauthorization_needed", "revoked")
    await store.commits.commit(lambda change: store.grants.add(change, GRANT))

    changed = [
        await store.commits.commit(lambda change, to=to: store.grants.set_status(change, "g1", to, to))  # type: ignore[misc]
        for to in statuses
    ]

    assert changed == [True, False, False, False]
    assert store.read(store.grants.all) == [dataclasses.replace(GRANT, status="revoked", sealed="", changed="revoked")]
    store.close()
    assert b"SEALED" not in b"".join(path.read_bytes() for path in store._path.parent.iterdir())


async def test_a_status_changes_where_it_is_another_and_a_grant_lives_until_it_is_revoked(store: Store) -> None:
    """grants.py: False where nothing changes, so that nothing is recorded; `live` sees what its own change did."""
    steps: Sequence[tuple[str, GrantStatus, bool, bool]] = [
        ("g1", "active", False, True),
        ("g1", "reauthorization_needed", True, True),
        ("g1", "reauthorization_needed", False, True),
        ("g3", "revoked", False, True),
        ("g1", "active", True, True),
        ("g1", "revoked", True, False),
    ]

    def change(transaction: Transaction) -> None:
        store.grants.add(transaction, NEWER)
        assert not store.grants.live(transaction, "crm", "broker")
        store.grants.add(transaction, GRANT)
        for grant, status, changes, lives in steps:
            assert store.grants.set_status(transaction, grant, status, "day 3") is changes
            assert bool(store.grants.live(transaction, "crm", "broker")) is lives

    await store.commits.commit(change)

    listed = store.read(store.grants.all)
    assert listed == [NEWER, dataclasses.replace(GRANT, status="revoked", sealed="", changed="day 3")]
    assert "SEALED" not in repr(listed)
