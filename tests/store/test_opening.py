import os
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from broker.audit import leaf_hash
from broker.errors import AuditUnavailable, StoreInUse, StoreUnusable
from broker.store import Store

pytestmark = pytest.mark.anyio

LOG = "access.example/log/test"


@pytest.fixture
async def left(store: Store) -> Path:
    """Leave a store with more records than one stored node covers."""
    await store.commits.commit(lambda change: [store.trail.append(change, {"n": n}) for n in range(260)])
    store.close()
    return store._path


@pytest.fixture
def read_only() -> Iterator[Path]:
    """Make a directory that this process cannot write to, be it root's."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield place
        os.seteuid(user)
        place.chmod(0o700)


async def test_a_second_broker_is_refused_until_the_first_is_gone(store: Store) -> None:
    """architecture.md, Processes and people: a second one on the same store refuses to start."""
    code = "import sys, pathlib, broker.store as s; s.Store.open(pathlib.Path(sys.argv[1]), sys.argv[2])"
    command = [sys.executable, "-c", code, str(store._path), LOG]

    with pytest.raises(StoreInUse):
        Store.open(store._path, LOG)
    from_another_process = await anyio.run_process(command, check=False)
    await store.commits.commit(lambda change: store.settings.put(change, "still", "mine"))
    store.close()

    assert b"StoreInUse" in from_another_process.stderr
    Store.open(store._path, LOG).close()


async def test_a_store_of_another_log_is_refused_with_both_names_and_let_go(left: Path) -> None:
    """store, `open`: a log's name is for the life of the store, else its records could not be verified."""
    with pytest.raises(StoreUnusable, match=r"other\.example/log") as refusal:
        Store.open(left, "other.example/log")

    assert LOG in refusal.value.message
    Store.open(left, LOG).close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE records SET body = CAST(replace(body, '259', '258') AS BLOB) WHERE seq = 259",
            "record 259 of the trail is not",
        ),
        ("UPDATE records SET hash = zeroblob(32) WHERE seq = 259", "record 259 of the trail is not"),
        ("UPDATE records SET body = CAST(body AS TEXT) || ' ' WHERE seq = 257", "record 257 of the trail is not"),
        ("DELETE FROM records WHERE seq > 255; UPDATE records SET body = x'00' WHERE seq = 255", "record 255 of the"),
        ("DELETE FROM records WHERE seq = 257", "missing"),
        ("UPDATE records SET seq = 300 WHERE seq = 259", "missing"),
        ("DELETE FROM nodes", "missing"),
        ("UPDATE nodes SET hash = 'text'", "no hash"),
        ("DROP TABLE nodes", "no such table"),
        ("ALTER TABLE records DROP COLUMN hash", "no such column"),
    ],
)
async def test_a_store_that_is_not_as_it_was_left_is_refused(left: Path, statement: str, words: str) -> None:
    """store, `open`: a trail that was changed is not continued as if nothing had happened."""
    with closing(sqlite3.connect(left)) as another:
        another.executescript(statement)

    with pytest.raises(StoreUnusable, match=words):
        Store.open(left, LOG)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000], ids=["empty", "list", "object", "bytes", "deep"]
)
async def test_a_forged_last_record_is_refused_in_words(left: Path, body: bytes) -> None:
    """Issue 2, Trail: whoever forges a record and its hash ends the start with a refusal, not with a traceback."""
    with closing(sqlite3.connect(left)) as another, another:
        another.execute("UPDATE records SET body = ?, hash = ? WHERE seq = 259", (body, leaf_hash(body)))

    with pytest.raises(StoreUnusable, match="last record of the trail cannot be read"):
        Store.open(left, LOG)


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    """errors.md, `store_unusable`: the store cannot be opened; the message names it."""
    text = "a letter, and no database\n" * 100
    (tmp_path / "letter").write_text(text)
    (tmp_path / "directory").mkdir()

    for name in ("letter", "directory", "letter/broker.db", "x" * 300):
        with pytest.raises(StoreUnusable) as refusal:
            Store.open(tmp_path / name, LOG)
        assert str(tmp_path / name) in refusal.value.message

    assert (tmp_path / "letter").read_text() == text


def test_a_place_that_cannot_be_written_to_is_refused(read_only: Path) -> None:
    """audit.md C5: read-only is a test case, for a new store and for a directory that would have to be made."""
    for path in (read_only / "broker.db", read_only / "data" / "broker.db"):
        with pytest.raises(StoreUnusable, match="Permission denied"):
            Store.open(path, LOG)


async def test_only_its_owner_can_read_the_store(tmp_path: Path) -> None:
    """threat-model.md: who can read the file sees everything but what is sealed, whatever the user's umask is."""
    before = os.umask(0)
    try:
        store = Store.open(tmp_path / "data" / "broker.db", LOG)
        await store.commits.commit(lambda change: store.settings.put(change, "a", "b"))
    finally:
        os.umask(before)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    store.close()

    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert modes == dict.fromkeys(("broker.db", "broker.db-wal", "broker.db-shm", "broker.db.lock"), 0o600)


def test_another_name_for_a_store_is_no_other_store(tmp_path: Path) -> None:
    """Issue 2, Operators: only one daemon opens the store, whatever it calls it."""
    store = Store.open(tmp_path / "one.db", LOG)
    (tmp_path / "two.db").symlink_to(tmp_path / "one.db")

    try:
        with pytest.raises(StoreInUse):
            Store.open(tmp_path / "two.db", LOG)
    finally:
        store.close()


async def test_a_store_whose_file_is_taken_away_takes_nothing_more(tmp_path: Path) -> None:
    """audit.md C5: what goes nowhere is not recorded; and no reader makes an empty store in its place."""
    store = Store.open(tmp_path / "broker.db", LOG)
    (tmp_path / "broker.db").unlink()

    try:
        with pytest.raises(AuditUnavailable):
            await store.commits.commit(lambda change: store.trail.append(change, {"kind": "lost"}))
        with pytest.raises(AuditUnavailable):
            store.read(lambda connection: list(store.trail.bodies(connection, 0, 1)))
        assert not (tmp_path / "broker.db").exists()
    finally:
        store.close()
