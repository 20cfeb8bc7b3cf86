import json
from dataclasses import replace

import pytest

from broker.store import SetRow, Store, Transaction

pytestmark = pytest.mark.anyio

ROW = SetRow(3, "id", "started", "now", "ab" * 32, {"a.yaml": "1" * 64, "s.json": None}, [["Agent", "x", "2"]], [], {})


async def test_a_set_and_its_contents_are_kept_each_once(store: Store) -> None:
    """Issue 3, `aam documents history`: the content of every file by its SHA-256, stored once."""
    later = replace(ROW, seq=7, digest="ac" * 32)
    await store.commits.commit(lambda change: store.history.add(change, ROW, {"1" * 64: b"one"}))
    await store.commits.commit(lambda change: store.history.add(change, later, {"1" * 64: b"one"}))
    await store.commits.commit(lambda change: store.history.add(change, replace(ROW, seq=9), {}))

    with store.reading() as connection:
        (count,) = connection.execute("SELECT count(*) FROM document_files").fetchone()
        assert (count, store.history.content(connection, "1" * 64)) == (1, b"one")
        assert store.history.content(connection, "2" * 64) is None
        assert [row.seq for row in store.history.last(connection, 9)] == [9, 7, 3]
        assert store.history.last(connection, 9, before=7) == [ROW]
        assert store.history.find(connection, "ab" * 32) == replace(ROW, seq=9)
        assert store.history.find(connection, "ab") is None
        assert store.history.digests(connection, "a", 9) == ["ab" * 32, "ac" * 32]
        assert store.history.digests(connection, "a", 1) == ["ab" * 32]
        assert store.history.digests(connection, "%", 9) == []
        assert store.history.kept(connection, ["1" * 64, "2" * 64]) == {"1" * 64}


async def test_a_content_that_somebody_changed_is_mended_when_it_is_kept_again(store: Store) -> None:
    """store: what is kept under a digest is what has that digest, as far as we are asked again."""
    await store.commits.commit(lambda change: store.history.add(change, ROW, {"1" * 64: b"one"}))
    await store.commits.commit(lambda change: change.execute("UPDATE document_files SET content = 'two'").rowcount)

    await store.commits.commit(lambda change: store.history.add(change, replace(ROW, seq=4), {"1" * 64: b"one"}))

    assert store.read(lambda connection: store.history.content(connection, "1" * 64)) == b"one"


async def test_a_set_that_cannot_be_kept_takes_its_record_with_it(store: Store) -> None:
    """Issue 3, `aam documents history`: the record and the contents stand or fall together."""
    await store.commits.commit(lambda change: store.history.add(change, ROW, {}))

    def both(change: Transaction) -> None:
        store.trail.append(change, {"kind": "documents_loaded"})
        store.history.add(change, ROW, {"1" * 64: b"one"})  # the same number again

    with pytest.raises(Exception, match="UNIQUE"):
        await store.commits.commit(both)

    with store.reading() as connection:
        assert list(store.trail.bodies(connection, 0, 9)) == []
        assert store.history.content(connection, "1" * 64) is None
        (row,) = connection.execute("SELECT files FROM document_sets").fetchall()
    assert json.loads(row[0]) == ROW.files
