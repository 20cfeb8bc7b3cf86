"""Any piece of evidence, by its file: an export, a bundle, or a proof of one record."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from broker.audit.bundle import MANIFEST, verify_bundle, verify_proof
from broker.audit.checkpoint import Checkpoint, open_checkpoint
from broker.audit.note import Note, VerifierKey
from broker.audit.verify import Report, read_export, verify

_PROOF = b"c2sp.org/tlog-proof@"
_LARGEST_PROOF = 1 << 20


class UncheckableError(ValueError):
    """What was given cannot be checked as it is given: it is no evidence at all, or needs a key."""


def check(path: Path, trusted: Sequence[VerifierKey] = (), held: Sequence[Checkpoint] = ()) -> Report:
    """Check what a file or directory holds; raise `ValueError` if it is no evidence, `OSError` if it cannot be read.

    `trusted` are the keys that the auditor has from elsewhere; `held` are heads that the export must have on its way.
    Raises `UncheckableError` for a proof of one record, which names no keys, if none is trusted.
    """
    if path.is_dir() and not (path / MANIFEST).exists():
        raise UncheckableError(f"{path} is a directory without a {MANIFEST}, so it is no bundle")
    if path.is_dir() or zipfile.is_zipfile(path):
        return verify_bundle(path, trusted, held)
    with path.open("rb") as file:
        begins = file.read(len(_PROOF))
        if begins == _PROOF:
            if not trusted:
                raise UncheckableError("a proof of one record names no key: give the log's with --key")
            return verify_proof((begins + file.read(_LARGEST_PROOF)).decode("utf-8", "replace"), trusted)
    stated, lines = read_export(path)
    return verify(lines, stated, trusted, held)


def read_keys(given: str) -> list[VerifierKey]:
    """Read a verifier key, or every one of a file's lines; raise `ValueError` or `OSError`."""
    if "+" in given and not Path(given).exists():
        return [VerifierKey.parse(given)]
    return [VerifierKey.parse(line) for line in Path(given).read_text().splitlines() if line.strip()]


def read_head(path: Path, trusted: Sequence[VerifierKey]) -> Checkpoint:
    """Read a signed head that somebody kept; its signature is checked if keys are trusted. Raises as `check` does."""
    note = path.read_text()
    return open_checkpoint(note, trusted)[0] if trusted else Checkpoint.parse(Note.parse(note).text)
