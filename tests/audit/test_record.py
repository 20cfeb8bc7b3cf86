import datetime
import itertools
import json
import subprocess
import sys
import time
import uuid
from types import SimpleNamespace

import pytest

from broker.audit import NO_HASH, Head, canonical, leaf_hash, new_id, record, seal, timestamp

LOG = "access.example/log/test"


def test_each_record_names_the_one_before_it_and_cannot_choose_its_place() -> None:
    """glossary, trail: a leaf is the canonical record; `prev_hash` is the leaf hash of the record before."""
    claims = {"note": "\u00e9\n", "v": 9, "log": "other", "seq": 7, "prev_hash": "f" * 64}
    head, before = Head(), NO_HASH

    for number in range(10):
        sealed, head = seal(LOG, head, claims)

        written = json.loads(sealed.body)
        assert written == {"note": "\u00e9\n", "v": 1, "log": LOG, "seq": number, "prev_hash": before}
        assert sealed.body == canonical(written)
        before = leaf_hash(sealed.body).hex()
        assert (sealed.seq, sealed.hash.hex(), head.last.hex(), head.size) == (number, before, before, number + 1)


def test_a_record_has_at_most_65535_bytes() -> None:
    """audit.md C3, tlog-tiles: an entry's length has sixteen bits; bytes count, not characters."""
    room = 65_535 - len(seal(LOG, Head(), {"note": "\u00e9"})[0].body)

    assert len(seal(LOG, Head(), {"note": "\u00e9" + "x" * room})[0].body) == 65_535
    with pytest.raises(ValueError, match="65536"):
        seal(LOG, Head(), {"note": "\u00e9" + "x" * (room + 1)})


def test_ids_are_uuids_of_version_7_unique_and_in_order() -> None:
    """RFC 9562 §5.7: the milliseconds, the version and the variant; later ids sort later."""
    begun = time.time_ns() // 10**6

    ids = [new_id() for _ in range(5_000)]

    ended, parsed = time.time_ns() // 10**6, [uuid.UUID(text) for text in ids]
    assert {(one.version, one.variant) for one in parsed} == {(7, uuid.RFC_4122)}
    assert begun <= parsed[0].int >> 80 <= parsed[-1].int >> 80 <= ended
    assert [str(one) for one in parsed] == ids == sorted(set(ids))


@pytest.mark.parametrize("start", [2**16, 2**29, 2**30, 2**40], ids=hex)
def test_ids_of_one_millisecond_stay_in_order_where_the_counter_carries(
    start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9562 §6.2, method 1; the moment is the one of its appendix A.6."""
    monkeypatch.setattr(record, "_COUNTER", itertools.count(start - 5))
    monkeypatch.setattr(record, "time", SimpleNamespace(time_ns=lambda: 1_645_557_742_000_999_999))

    ids = [new_id() for _ in range(10)]

    assert ids == sorted(set(ids))
    assert {one[:15] for one in ids} == {"017f22e2-79b0-7"}


def test_a_moment_is_written_in_utc_to_the_millisecond() -> None:
    """record.py: RFC 3339, in UTC; now, if none is given."""
    begun = datetime.datetime.now(datetime.UTC) - datetime.timedelta(milliseconds=1)

    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1_645_557_742.9999) == "2022-02-22T19:22:22.999Z"
    assert begun <= datetime.datetime.fromisoformat(timestamp()) <= datetime.datetime.now(datetime.UTC)


def test_the_room_brings_nothing_of_ours_but_errors() -> None:
    """architecture.md, The rooms: imports nothing of ours but errors; asked of Python, not of the source."""
    ask = (
        "import broker.audit, sys; print(*(name for name in sys.modules if name.startswith(('broker', 'connectors'))))"
    )

    loaded = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout.split()

    assert "broker.audit.verify" in loaded
    assert {".".join(name.split(".")[:2]) for name in loaded} <= {"broker", "broker.audit", "broker.errors"}
