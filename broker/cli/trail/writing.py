"""Files that appear under their name only once they are whole, and replace nothing that must stay."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from broker.cli.output import is_taken, stop

STDOUT = Path("-")


def refuse_to_replace(file: Path, *, force: bool, as_json: bool) -> None:
    """End the command if what is in the file's place must stay."""
    if is_taken(file):
        stop(f"{file} is there and is no regular file; name another, or '-' for stdout.", as_json=as_json)
    if file.exists() and not force:
        stop(f"{file} is there already; name another, or replace it with --force.", as_json=as_json)


@contextlib.contextmanager
def writing(file: Path) -> Iterator[BinaryIO]:
    """Write beside the file's name, for its owner only; move it there once everything is on disk and nothing failed."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        Path(partial).replace(file)
    finally:
        Path(partial).unlink(missing_ok=True)
