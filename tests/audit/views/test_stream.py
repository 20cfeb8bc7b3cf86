import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit.views import Gap, read_stream, without_gaps
from tests.support.views import call, sealed

BODIES = sealed(record for _ in range(4) for record in call())


def gap(start: int, stop: int, why: str = "pruned") -> bytes:
    """Return the line of a gap, as an export has it."""
    return json.dumps({"gap": {"start": start, "stop": stop, "why": why, "hashes": ["00" * 32]}}).encode()


def test_records_and_gaps_are_told_apart() -> None:
    """An export that is filtered or pruned says which records are not in it."""
    stream = list(read_stream([gap(0, 3), *BODIES[3:6], gap(6, 12, "filtered")]))

    assert stream[0] == Gap(0, 3, "pruned")
    assert stream[-1] == Gap(6, 12, "filtered")
    assert list(without_gaps(stream)) == [json.loads(body) for body in BODIES[3:6]]


@given(st.sets(st.integers(0, len(BODIES) - 1)))
def test_what_is_missing_without_a_word_is_a_gap_too(missing: set[int]) -> None:
    """Records that somebody took out of the middle do not pass for records that never were."""
    kept = [body for number, body in enumerate(BODIES) if number not in missing]

    stream = list(read_stream(kept))

    last = max(set(range(len(BODIES))) - missing, default=-1)
    absent = {number for one in stream if isinstance(one, Gap) for number in range(one.start, one.stop)}
    assert absent == {number for number in missing if number < last}
    assert {one.why for one in stream if isinstance(one, Gap)} <= {"missing"}


@pytest.mark.parametrize(
    "lines",
    [
        [b"x"],
        [b"[]"],
        [b"{}"],
        [b"[" * 99_999],
        [b"\xff"],
        [BODIES[1], BODIES[0]],
        [BODIES[0], BODIES[0]],
        [gap(3, 3)],
        [gap(-1, 3)],
        [b'{"gap":{}}'],
        [b'{"gap":[1,2]}'],
        [BODIES[0], gap(0, 2)],
        [b'{"seq":true}'],
        [b'{"seq":"0"}'],
    ],
)
def test_lines_that_are_no_export_are_refused(lines: list[bytes]) -> None:
    """Half a line, another file, records out of order: nothing is made of them."""
    with pytest.raises(ValueError, match=r"record|gap"):
        list(read_stream(lines))
