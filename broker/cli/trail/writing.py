"""Files that appear under their name only once they are whole."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from broker.cli.output import is_taken, stop


def refuse_to_replace(file: Path, *, force: bool, as_json: bool) -> None:
    """End the command if what is in the file's place must stay. Raises `OSError`."""
    if is_taken(file):
        stop(f"{file} is there and is no regular file; name another, or '-' for stdout.", as_json=as_json)
    if file.exists() and not force:
        stop(f"{file} is there already; name another, or replace it with --force.", as_json=as_json)


@contextlib.contextmanager
def writing(file: Path) -> Iterator[BinaryIO]:
    """Yield a file beside its place, readable for its owner only; it takes its place, on disk, if nothing is raised."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        Path(partial).replace(file)
    finally:
        Path(partial).unlink(missing_ok=True)
