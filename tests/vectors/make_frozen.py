"""Writes `tests/vectors/frozen`: run once for a version of the formats, by hand, and never by a test.

    python -m tests.vectors.make_frozen

It refuses to write where something is: evidence that was given out is never made anew.
"""

import hashlib
import tempfile
from pathlib import Path

from tests.support.evidence import Log, unpacked

PLACE = Path(__file__).parent / "frozen/v1"
NAME = "access.example.com/log/frozen"


def main() -> None:
    """Write a log of 40 records: a key that is changed after 16, and records 3 to 9 pruned after 20."""
    PLACE.mkdir(parents=True)
    log = Log(NAME)
    _calls(log, 16)
    first = log.bundle(PLACE / "first.zip")
    before = log.checkpoint(), hashlib.sha256(unpacked(first, PLACE / "first").joinpath("manifest.json").read_bytes())
    first.unlink()
    key = log.rotate()
    log.add("signing_key_rotated", key={"vkey": str(key), "endorsement": log.keys[-1].endorsement})
    _calls(log, 20)
    (PLACE / "whole.jsonl").write_bytes(log.export())
    log.prune(3, 10)
    _calls(log, 40)
    (PLACE / "log.vkey").write_text("".join(f"{one.key}\n" for one in log.keys))
    (PLACE / "checkpoint").write_text(log.checkpoint())
    (PLACE / "held-checkpoint").write_text(log.checkpoint(10, 0))
    (PLACE / "pruned.jsonl").write_bytes(log.export())
    (PLACE / "selection.jsonl").write_bytes(log.export({2, 7, 8, 17, 30, 31}, agent="finance-analyst"))
    for seq in (0, 12, 39):
        (PLACE / f"{seq}.tlog-proof").write_text(log.proof(seq).text())
    previous = before[0], before[1].hexdigest()
    with tempfile.TemporaryDirectory() as place:
        unpacked(log.bundle(Path(place) / "one.zip", previous=previous), PLACE / "bundle")
        wanted = {2, 7, 8, 17, 30, 31}
        few = log.bundle(Path(place) / "two.zip", wanted, previous=previous, agent="finance-analyst")
        unpacked(few, PLACE / "selection")


def _calls(log: Log, size: int) -> None:
    """Record calls, at fixed times, up to a size."""
    while len(log.bodies) < size:
        seq = len(log.bodies)
        log.add(
            "requested",
            call_id=f"0198e1c0-0000-7000-8000-{seq:012x}",
            time=f"2026-11-24T08:00:{seq:02d}.000Z",
            identity={"agent": "finance-analyst", "spiffe_id": "spiffe://prod/agent/finance-analyst"},
            action={"tool": "salesforce_accounts_read", "note": 'äöü €  "quoted" \\ \u0007'},
        )


if __name__ == "__main__":
    main()
