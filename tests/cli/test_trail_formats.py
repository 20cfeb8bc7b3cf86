"""An export in other formats: every entry, in constant memory."""

import csv
import gc
import io
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import pytest

from broker.cli.trail.formats import write_csv, write_ocsf
from tests.support.ocsf import mistakes
from tests.support.views import call, event, placed, sealed

Write = Callable[[Iterable[bytes], BinaryIO], int]
GAP = b'{"gap":{"start":0,"stop":4,"why":"filtered","hashes":[]}}'
BODIES = sealed([event("started"), *call(), *call("refused", effect="deny"), *call(None)])


class Counting(io.BytesIO):
    """Takes any number of bytes and keeps none."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0

    def write(self, data: Any) -> int:
        """Count."""
        self.taken += len(data)
        return len(data)


def test_every_entry_is_a_row() -> None:
    """Issue 3, What a user can do 3: CSV; what was filtered is in no row."""
    whole, part = io.BytesIO(), io.BytesIO()

    numbers = write_csv(BODIES, whole), write_csv([GAP, *BODIES[4:]], part)

    tables = [list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline=""))) for out in (whole, part)]
    assert numbers == (4, 2) == tuple(map(len, tables))
    assert [row["outcome"] for row in tables[1]] == ["refused", "unfinished"]


def test_every_entry_is_a_valid_event() -> None:
    """Issue 3, What a user can do 3: OCSF 1.8."""
    out = io.BytesIO()

    number = write_ocsf([GAP, *BODIES[4:]], out)

    made = [json.loads(line) for line in out.getvalue().splitlines()]
    assert number == 2 == len(made)
    assert [mistakes(one) for one in made] == [[], []]


@pytest.mark.parametrize("write", [write_csv, write_ocsf])
def test_nothing_is_made_of_nothing(write: Write) -> None:
    """An export of no record has a header at most."""
    out = io.BytesIO()

    assert write([], out) == 0
    assert out.getvalue().count(b"\n") == (write is write_csv)


@pytest.mark.parametrize("write", [write_csv, write_ocsf])
def test_lines_that_are_no_export_are_refused(write: Write) -> None:
    """Whoever called must not put what came out under its name."""
    with pytest.raises(ValueError, match="no JSON object"):
        write([BODIES[0], b"half a li"], io.BytesIO())


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_csv, write_ocsf])
def test_an_export_does_not_stay_in_memory(write: Write) -> None:
    """Issue 3, Speed and size: export a million in constant memory."""
    pattern = placed(call())

    def lines(number: int) -> Iterator[bytes]:
        for one in range(number):
            for place, record in enumerate(pattern):
                said = {**record, "seq": 3 * one + place, "call_id": str(one)}
                yield json.dumps(said).encode()

    out = Counting()
    gc.collect()
    tracemalloc.start()
    write(lines(4_000), out)
    peak = tracemalloc.get_traced_memory()[1]  # of every thread, so that a test beside this one is in it, too
    tracemalloc.stop()

    assert peak < out.taken / 4
