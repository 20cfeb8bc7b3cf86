"""An export's records in other formats than their own, in constant memory."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from broker.audit.views import Entry, join, read_stream, without_gaps
from broker.audit.views.ocsf import lines as ocsf_lines
from broker.audit.views.table import rows


def write_csv(lines: Iterable[bytes], out: BinaryIO) -> int:
    """Write a header and one row for each entry; return how many entries there are.

    `lines` are an export's, after its statement. Raises `ValueError` for lines that are none.
    """
    return _write(rows(_entries(lines)), out) - 1


def write_ocsf(lines: Iterable[bytes], out: BinaryIO) -> int:
    """Write one OCSF event for each entry, as JSON Lines; return how many there are. As `write_csv` otherwise."""
    return _write(ocsf_lines(_entries(lines)), out)


def _entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    return join(without_gaps(read_stream(lines)))


def _write(chunks: Iterable[bytes], out: BinaryIO) -> int:
    number = 0
    for number, chunk in enumerate(chunks, 1):  # noqa: B007 - how many there were is what is asked
        out.write(chunk)
    return number
