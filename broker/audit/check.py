"""Any piece of evidence, by its file: an export, a bundle, or a proof of one record."""

import os
from collections.abc import Sequence
from pathlib import Path

from broker.audit.bundle import MANIFEST, verify_bundle
from broker.audit.checkpoint import Checkpoint, open_checkpoint
from broker.audit.note import Note, VerifierKey
from broker.audit.verify import Report, read_export, verify
from broker.audit.verify_proof import verify_proof

_PROOF, _ZIP = b"c2sp.org/tlog-proof@", b"PK"
_LARGEST_PROOF = 1 << 20


class UncheckableError(ValueError):
    """What was given cannot be checked as it is given: it is no evidence at all, or needs a key."""


def check(path: Path, trusted: Sequence[VerifierKey] = (), held: Sequence[Checkpoint] = ()) -> Report:
    """Check what a file or directory holds; raise `ValueError` if it is no evidence, `OSError` if it cannot be read.

    `trusted` are the keys that the auditor has from elsewhere; `held` are heads that the export must have on its way.
    Raises `UncheckableError` for a proof of one record, which names no keys, if none is trusted.
    """
    if path.is_dir():
        if not (path / MANIFEST).exists():
            raise UncheckableError(f"{path} is a directory without a {MANIFEST}, so it is no bundle")
        return verify_bundle(path, trusted, held)
    with path.open("rb") as file:
        begins = file.read(len(_PROOF))
        if begins == _PROOF:
            return _check_proof(begins + file.read(_LARGEST_PROOF), trusted, held)
    if begins.startswith(_ZIP):  # by its beginning: a zip may follow upon anything, which others would read then
        return verify_bundle(path, trusted, held)
    stated, lines = read_export(path)
    return verify(lines, stated, trusted, held)


def _check_proof(content: bytes, trusted: Sequence[VerifierKey], held: Sequence[Checkpoint]) -> Report:
    if not trusted:
        raise UncheckableError("a proof of one record names no key: give the log's with --key")
    if len(content) > _LARGEST_PROOF:
        raise ValueError(f"a proof of one record is not larger than {_LARGEST_PROOF} bytes")
    try:
        return verify_proof(content.decode(), trusted, held)
    except UnicodeDecodeError:
        raise ValueError("the proof is not UTF-8") from None


def read_keys(given: str) -> list[VerifierKey]:
    """Read a verifier key, or every one of a file's lines, at least one; raise `ValueError` or `OSError`."""
    try:
        return [VerifierKey.parse(given)]  # first: a file of that name may be anybody's
    except ValueError:
        if "+" in given and not os.path.lexists(given):
            raise
    keys = [VerifierKey.parse(line) for line in Path(given).read_text().splitlines() if line.strip()]
    if not keys:
        raise ValueError(f"there is no key in {given}")
    return keys


def read_head(path: Path, trusted: Sequence[VerifierKey]) -> Checkpoint:
    """Read a signed head that somebody kept; its signature is checked if keys are trusted. Raises as `check` does."""
    note = path.read_text()
    return open_checkpoint(note, trusted)[0] if trusted else Checkpoint.parse(Note.parse(note).text)
