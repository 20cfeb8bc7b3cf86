"""Signed heads: made, shipped off the machine, and held against the store when the broker starts."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.audit import open_checkpoint
from broker.errors import AuditUnavailable, TrailRolledBack
from tests.support.broker import Line, open_line
from tests.support.documents import Written, broker_document
from tests.support.notes import Notes
from tests.support.sink import KeepingSite

Case = Callable[[Line], Awaitable[None]]
CALL = ("notes_notes_read", {"id": "n1"})


@pytest.fixture
def shipping(written: Written, tmp_path: Path) -> Path:
    """Have heads shipped to a file; return it."""
    kept = tmp_path / "elsewhere" / "head"
    kept.parent.mkdir()
    ship_to(written, {"to": "file", "name": "notary", "path": str(kept)})
    return kept


def ship_to(written: Written, *sinks: dict[str, Any]) -> None:
    """Name sinks in the Broker document."""
    written.put("broker.yaml", broker_document(trail={"ship": list(sinks)}))


def with_line(written: Written, case: Case) -> None:
    """Start the parts of a broker, which holds its heads against what was shipped, and end them again."""

    async def main() -> None:
        async with open_line(written, Notes(), grant=not (written.directory / "data/broker.db").exists()) as line:
            await case(line)

    anyio.run(main, backend_options={"use_uvloop": True})


async def call_and_ship(line: Line) -> None:
    """Make a call and ship the head behind it."""
    await line.call(*CALL)
    await line.parts.heads.ship(await line.parts.heads.sign())


async def nothing(_line: Line) -> None:
    """Do nothing but start."""


def kept_at(place: Path) -> str:
    """Return what a sink keeps."""
    return place.read_text()


def copied(written: Written) -> bytes:
    """Return a copy of the store, as a backup or a thief takes it."""
    database = written.directory / "data/broker.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database.read_bytes()


def put_back(written: Written, copy: bytes) -> None:
    """Put a copy in the store's place."""
    for path in (written.directory / "data").glob("broker.db*"):
        path.unlink()
    (written.directory / "data/broker.db").write_bytes(copy)


# --- Shipped ----------------------------------------------------------------------------------------------------------


def test_the_head_that_is_shipped_is_signed_and_on_record(written: Written, shipping: Path) -> None:
    """Issue 3: heads leave the machine, it says when it last could, and checkpoints shipped are in the trail."""

    async def case(line: Line) -> None:
        await call_and_ship(line)

        (sink,) = line.parts.heads.status()["ship"]
        checkpoint, signers = open_checkpoint(kept_at(shipping), [one.key for one in line.parts.signing.keys])
        (record,) = line.records(kind="checkpoint_shipped")
        assert checkpoint.size == sink["records"]
        assert sink["at"] is not None
        assert sink["problem"] is None
        assert signers == [line.parts.signing.current]
        assert record["checkpoint"] == {"size": checkpoint.size, "root": checkpoint.root.hex()}
        assert (record["to"], record["failed"]) == (["notary"], [])

    with_line(written, case)


def test_where_nothing_happens_nothing_is_shipped_again(written: Written, shipping: Path) -> None:
    """heads.py, `ship`: the record of a shipping is no reason for the next one."""

    async def case(line: Line) -> None:
        await call_and_ship(line)
        first = kept_at(shipping)
        for _ in range(3):
            await line.parts.heads.ship(await line.parts.heads.sign())

        assert kept_at(shipping) == first
        assert len(line.records(kind="checkpoint_shipped")) == 1

    with_line(written, case)


def test_a_sink_that_fails_is_said_once_and_tried_again(written: Written, shipping: Path) -> None:
    """Issue 3: it says when it last could; calls do not depend on a place that is not there."""

    async def case(line: Line) -> None:
        moved = shipping.parent.rename(shipping.parent.with_name("gone"))
        for _ in range(3):
            await call_and_ship(line)
        (failing,) = line.parts.heads.status()["ship"]
        moved.rename(shipping.parent)
        await call_and_ship(line)

        (mended,) = line.parts.heads.status()["ship"]
        (failed,) = line.records(kind="checkpoint_not_shipped")
        assert "cannot be written" in failing["problem"]
        assert (failing["at"], mended["problem"]) == (None, None)
        assert failed["failed"][0]["name"] == "notary"
        assert len(line.records(kind="checkpoint_shipped")) == 1

    with_line(written, case)


def test_a_site_keeps_heads_by_put_and_is_asked_for_them_by_get(written: Written, tmp_path: Path) -> None:
    """Issue 3: heads are shipped by HTTPS; a site that is down is tried again, and refuses nothing."""
    with KeepingSite(tmp_path) as site:
        ship_to(written, site.document())

        async def case(line: Line) -> None:
            await call_and_ship(line)
            site.status = 500
            await call_and_ship(line)
            (failing,) = line.parts.heads.status()["ship"]
            site.status = None
            await call_and_ship(line)

            (mended,) = line.parts.heads.status()["ship"]
            assert failing["problem"] == "a PUT is answered with HTTP 500"
            assert mended["problem"] is None
            assert site.kept is not None
            assert open_checkpoint(site.kept, [line.parts.signing.current])[0].size == mended["records"]

        with_line(written, case)
        with_line(written, nothing)


def test_no_head_is_signed_with_a_key_that_is_not_the_logs_own(written: Written) -> None:
    """vault/signing.py, `sign`: a key that was put into the store by somebody signs nothing."""

    async def case(line: Line) -> None:
        with closing(sqlite3.connect(line.database)) as connection, connection:
            connection.execute("UPDATE signing_keys SET sealed = (SELECT sealed FROM grants LIMIT 1)")

        with pytest.raises(AuditUnavailable) as refused:
            await line.parts.heads.sign()

        assert "signing key" in str(refused.value.detail)

    with_line(written, case)


# --- Held against the store -------------------------------------------------------------------------------------------


def test_a_store_that_grew_since_the_head_was_shipped_starts(written: Written, shipping: Path) -> None:
    """The positive control: calls after the last shipping, a new key, and a restart are no reason to refuse."""

    async def grow(line: Line) -> None:
        await call_and_ship(line)
        await line.parts.signing.rotate({"user": "test", "uid": 0, "role": "admin"})
        await line.call(*CALL)

    with_line(written, grow)
    with_line(written, nothing)

    assert shipping.exists()


def test_an_older_copy_of_the_store_does_not_start(written: Written, shipping: Path) -> None:
    """Issue 3: a rolled-back database is detected against a shipped head."""
    with_line(written, call_and_ship)
    copy = copied(written)
    with_line(written, call_and_ship)
    put_back(written, copy)

    with pytest.raises(TrailRolledBack) as refused:
        with_line(written, nothing)

    assert refused.value.code == "trail_rolled_back"
    assert "The head at notary is of" in refused.value.message
    assert shipping.exists()


def test_a_copy_that_went_its_own_way_does_not_start(written: Written, shipping: Path) -> None:
    """Issue 3: a copied database, used beside the true one, is detected though it has as many records or more."""
    with_line(written, call_and_ship)
    copy = copied(written)
    with_line(written, call_and_ship)
    true_head = kept_at(shipping)
    put_back(written, copy)
    shipping.unlink()

    async def go_its_own_way(line: Line) -> None:
        for _ in range(4):
            await line.call(*CALL)

    with_line(written, go_its_own_way)
    shipping.write_text(true_head)

    with pytest.raises(TrailRolledBack) as refused:
        with_line(written, nothing)

    assert "of another history" in refused.value.message


def test_another_log_of_the_same_name_does_not_start(written: Written, shipping: Path) -> None:
    """heads.py: a head of this log by a key that the store does not know is of a history that is not this one."""
    with_line(written, call_and_ship)
    for path in (written.directory / "data").glob("broker.db*"):
        path.unlink()

    with pytest.raises(TrailRolledBack) as refused:
        with_line(written, nothing)

    assert "signed by a key that this store does not know" in refused.value.message
    assert shipping.exists()


def test_records_cut_from_the_end_are_missed_even_where_no_head_was_shipped(written: Written) -> None:
    """heads.py, `check`: the store is held against the head that it signed last itself."""

    async def sign(line: Line) -> None:
        await line.call(*CALL)
        await line.parts.heads.sign()

    with_line(written, sign)
    with closing(sqlite3.connect(written.directory / "data/broker.db")) as connection, connection:
        (size,) = connection.execute("SELECT max(seq) + 1 FROM records").fetchone()
        connection.execute("DELETE FROM records WHERE seq >= ?", (size - 3,))

    with pytest.raises(TrailRolledBack):
        with_line(written, nothing)


def test_a_shipped_head_that_is_gone_is_on_record(written: Written, shipping: Path) -> None:
    """Issue 3: a missing head is detected at start; who took it away may have wanted to hide a rollback."""
    with_line(written, call_and_ship)
    shipping.unlink()

    async def case(line: Line) -> None:
        (record,) = line.records(kind="shipped_head_missing")
        assert record["sink"] == "notary"
        assert open_checkpoint(record["checkpoint"], [one.key for one in line.parts.signing.keys])

    with_line(written, case)


def test_a_head_of_another_log_is_not_overwritten(written: Written, shipping: Path) -> None:
    """Two brokers whose documents name one file: the second says so, and the first one's evidence stays."""
    shipping.write_text("somebody's notes\n")

    async def case(line: Line) -> None:
        await call_and_ship(line)

        (sink,) = line.parts.heads.status()["ship"]
        assert "no signed head of this log" in sink["problem"]
        assert kept_at(shipping) == "somebody's notes\n"

    with_line(written, case)


def test_a_site_that_was_down_at_the_start_stops_a_store_that_is_behind_it(written: Written, tmp_path: Path) -> None:
    """heads.py: a sink that cannot be asked is asked again; until then calls go on, and afterwards none."""
    with KeepingSite(tmp_path) as site:
        ship_to(written, site.document())
        with_line(written, call_and_ship)
        copy = copied(written)
        with_line(written, call_and_ship)
        put_back(written, copy)
        site.status = 503

        async def case(line: Line) -> None:
            await line.call(*CALL)
            newest, site.status = site.kept, None
            await line.parts.heads.ship(await line.parts.heads.sign())

            refused = await line.refused(*CALL)

            assert refused.code == "audit_unavailable"
            assert "rolled back" in line.parts.recorder.hindrances
            assert line.records(kind="trail_rolled_back")[0]["sink"] == "second-site"
            assert site.kept == newest

        with_line(written, case)
