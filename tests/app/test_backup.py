"""A backup and its restoration, as docs/operations.md tells it: the store and, apart from it, the key."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker.errors import Refusal
from tests.support.broker import ServedBroker
from tests.support.clients import Wire
from tests.support.documents import Written
from tests.support.notes import Notes

READ = ("notes_notes_read", {"id": "n1"})


def backed_up(written: Written, to: Path) -> Path:
    """Copy the store of a broker that serves, by SQLite's own means."""
    copy = to / "copy.db"
    with (
        closing(sqlite3.connect(written.directory / "data/broker.db")) as store,
        closing(sqlite3.connect(copy)) as backup,
    ):
        store.backup(backup)
    return copy


def put_back(written: Written, copy: Path) -> None:
    """Put a copy at the place of the store, and nothing of the store that was there beside it."""
    for path in (written.directory / "data").glob("broker.db*"):
        path.unlink()
    shutil.copy(copy, written.directory / "data/broker.db")


def test_a_restored_store_serves_with_its_grants_and_verifies(written: Written, tmp_path: Path) -> None:
    """Issue 5: backup and restore, documented and tested; the broker serves while it is backed up."""
    with ServedBroker(written, Notes()) as broker:
        before = Wire(broker).call(*READ)
        copy = backed_up(written, tmp_path)
        lost = Wire(broker).call(*READ)

    put_back(written, copy)
    with ServedBroker(written, Notes(), grant=False) as restored:
        after = Wire(restored).call(*READ)

        assert after.code is None
        assert restored.outcome(str(before.call_id))["status"] == "released"
        assert restored.outcome(str(after.call_id))["status"] == "released"
        assert restored.records(lost.call_id) == []
        assert restored.verified().holds


def test_a_backup_without_its_key_opens_nothing(written: Written, tmp_path: Path) -> None:
    """credentials.md B5: ciphertext without the key-encryption key is useless; a new key does not do instead."""
    with ServedBroker(written, Notes()):
        copy = backed_up(written, tmp_path)
    put_back(written, copy)
    key = written.directory / "secrets/vault.key"
    kept = key.read_bytes()
    key.unlink()

    with pytest.raises(Refusal) as missing, ServedBroker(written, Notes(), grant=False):
        pass
    key.write_bytes(kept[:-8] + b"AAAAAAA\n")
    with pytest.raises(Refusal) as another, ServedBroker(written, Notes(), grant=False):
        pass

    assert missing.value.code
    assert another.value.code
    assert kept.decode().strip() not in repr((missing.value, another.value))
