"""Bundles: an export with everything that a stranger needs to check it, as one zip file or a directory.

    records.jsonl          the export: a statement, then records and gaps
    checkpoint             the signed head that it rests on (C2SP tlog-checkpoint)
    log.vkey               the log's keys, the oldest first (C2SP signed-note verifier keys)
    previous-checkpoint    the head of the bundle before, and
    consistency            the proof that this head grew out of it (RFC 6962 §2.1.2), a hash in base64 a line
    proofs/41.tlog-proof   of a small selection: a proof of each record by itself (C2SP tlog-proof)
    HOW-TO-CHECK.md        how to check it, with and without our program
    manifest.json          the SHA-256 of each of these, and of the manifest before
    manifest.note          its signature

The text of the manifest's note is four lines: `access.envisionai.dev/bundle/v1`, the log, its size, and the SHA-256 of
the manifest.
"""

import contextlib
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from broker.audit.checkpoint import Checkpoint, open_checkpoint, trusted_keys
from broker.audit.note import Note, VerifierKey
from broker.audit.proof import RecordProof, extends, includes, read_hash_lines
from broker.audit.statement import Statement
from broker.audit.tree import leaf_hash
from broker.audit.verify import Report, read_lines, verify

MANIFEST_FORMAT = "access.envisionai.dev/bundle/v1"
RECORDS, CHECKPOINT, KEYS = "records.jsonl", "checkpoint", "log.vkey"
PREVIOUS, CONSISTENCY, HOW_TO = "previous-checkpoint", "consistency", "HOW-TO-CHECK.md"
MANIFEST, MANIFEST_NOTE, PROOFS = "manifest.json", "manifest.note", "proofs/"
_ALWAYS = {RECORDS, CHECKPOINT, KEYS, HOW_TO}
_LARGEST_FILE = 1 << 24  # bytes of anything but the records
_PIECE = 1 << 20


def manifest_text(log: str, size: int, sha256: str) -> str:
    """Return what is signed of a manifest."""
    return f"{MANIFEST_FORMAT}\n{log}\n{size}\n{sha256}\n"


class _Files(Protocol):
    def names(self) -> set[str]:
        """Return the names of all files."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file; raises `ValueError` or `OSError`."""


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def names(self) -> set[str]:
        names = self._archive.namelist()
        if len(set(names)) != len(names):
            raise ValueError("a name stands in the archive twice")
        return set(names)

    def open(self, name: str) -> IO[bytes]:
        try:
            return self._archive.open(name)
        except (KeyError, RuntimeError) as error:  # RuntimeError: it is encrypted
            raise ValueError(f"{name} is not in the bundle, or cannot be read: {error}") from None


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        return {str(one.relative_to(self._path)) for one in self._path.rglob("*") if not one.is_dir()}

    def open(self, name: str) -> IO[bytes]:
        path = self._path / name
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{name} is not in the bundle, or is no regular file")
        return path.open("rb")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _Directory(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            yield _Zip(archive)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise ValueError(f"the archive is damaged: {error}") from None


def verify_bundle(path: Path, trusted: Sequence[VerifierKey] = (), held: Sequence[Checkpoint] = ()) -> Report:
    """Check a bundle: its files, its records, the head, that it grew out of the one before, and each proof by itself.

    Raises `ValueError` for what is no bundle, and `OSError`.
    """
    with _opened(path) as files:
        names = files.names()
        if MANIFEST not in names:
            raise ValueError(f"there is no {MANIFEST} in it, so it is no bundle")
        manifest_bytes = _read(files, MANIFEST)
        with contextlib.closing(read_lines(files.open(RECORDS))) as lines:
            stated = Statement.parse(next(lines, b""))
            report = verify(lines, stated, trusted, held)
        if not report.holds:
            return report
        try:
            keys = trusted_keys(stated.log, trusted or [one.key for one in stated.keys], stated.keys)
            _check_manifest(files, names, manifest_bytes, stated, keys, report)
            if _text(files, CHECKPOINT) != stated.checkpoint:
                raise ValueError(f"{CHECKPOINT} is not the signed head of {RECORDS}")
            _check_previous(files, names, stated, keys, held, report)
            _check_proofs(files, names, keys, stated, report)
        except ValueError as error:
            return report.fail(None, str(error))
        return report


def verify_proof(text: str, trusted: Sequence[VerifierKey], record: bytes | None = None) -> Report:
    """Check a proof of one record, which it holds itself unless `record` is given."""
    report = Report()
    try:
        proof = RecordProof.parse(text)
        body = record if record is not None else proof.record
        if body is None:
            raise ValueError("the proof does not hold the record that it proves")
        checkpoint, signers = open_checkpoint(proof.checkpoint, trusted)
        _check_proof(proof, body, checkpoint)
    except ValueError as error:
        return report.fail(None, str(error))
    report.records, report.root = 1, checkpoint.root.hex()
    by = ", ".join(f"{key.name} (key {key.key_id.hex()})" for key in signers)
    report.proved = [
        f"The record is number {proof.index} of the log {checkpoint.origin}, unchanged.",
        f"The head of {checkpoint.size} records was signed by {by}.",
    ]
    report.open = ["What the other records say, and that the log was shown to others as it is shown here."]
    return report


def _check_proof(proof: RecordProof, body: bytes, checkpoint: Checkpoint) -> None:
    try:
        said = json.loads(body)
        numbered = (said["seq"], said["log"]) if isinstance(said, dict) else None
    except (ValueError, KeyError, RecursionError):
        numbered = None
    if numbered != (proof.index, checkpoint.origin):
        raise ValueError(f"the record does not say that it is number {proof.index} of {checkpoint.origin}")
    if not includes(leaf_hash(body), proof.index, checkpoint.size, proof.path, checkpoint.root):
        raise ValueError(f"the record is not number {proof.index} of the log whose head was signed")


def _check_manifest(
    files: _Files, names: set[str], manifest: bytes, stated: Statement, keys: Sequence[VerifierKey], report: Report
) -> None:
    listed = _listed(manifest)
    if missing := sorted((_ALWAYS | set(listed)) - names) + sorted(_ALWAYS - set(listed)):
        raise ValueError(f"{missing[0]} is missing from the bundle, or from its manifest")
    if extra := sorted(names - set(listed) - {MANIFEST, MANIFEST_NOTE}):
        raise ValueError(f"{extra[0]} is in the bundle and not in its manifest")
    for name, digest in sorted(listed.items()):
        if _sha256(files, name) != digest:
            raise ValueError(f"{name} is not the file that the manifest names")
    if MANIFEST_NOTE not in names:
        raise ValueError(f"{MANIFEST_NOTE} is missing: nobody has signed the manifest")
    note = Note.parse(_text(files, MANIFEST_NOTE))
    note.verified(keys)
    if note.text != manifest_text(stated.log, stated.size, hashlib.sha256(manifest).hexdigest()):
        raise ValueError(f"{MANIFEST_NOTE} is the signature of another manifest")
    report.proved.append(f"The {len(listed)} files are those of the signed manifest.")


def _listed(manifest: bytes) -> dict[str, str]:
    try:
        said: Any = json.loads(manifest)
        listed = {str(name): str(one["sha256"]) for name, one in said["files"].items()}
        if said["format"] == MANIFEST_FORMAT:
            return listed
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError(f"{MANIFEST} is not the manifest of a bundle ({MANIFEST_FORMAT})")


def _check_previous(
    files: _Files,
    names: set[str],
    stated: Statement,
    keys: Sequence[VerifierKey],
    held: Sequence[Checkpoint],
    report: Report,
) -> None:
    if PREVIOUS not in names:
        report.open.append("That the log grew out of an earlier bundle: there was none before this one.")
        return
    before, _ = open_checkpoint(_text(files, PREVIOUS), keys)
    path = read_hash_lines(_text(files, CONSISTENCY))
    if before.origin != stated.log or not extends(
        before.size, stated.size, path, before.root, bytes.fromhex(stated.root)
    ):
        raise ValueError(f"the head does not grow out of the one of {before.size} records in {PREVIOUS}")
    if any(one.size == before.size and one.root != before.root for one in held):
        raise ValueError(f"the head of {before.size} records that you hold is not the one in {PREVIOUS}")
    report.proved.append(f"The log grew out of the head of {before.size} records of the bundle before, unchanged.")


def _check_proofs(
    files: _Files, names: set[str], keys: Sequence[VerifierKey], stated: Statement, report: Report
) -> None:
    proofs = sorted(name for name in names if name.startswith(PROOFS))
    for name in proofs:
        proof = RecordProof.parse(_text(files, name))
        if proof.checkpoint != stated.checkpoint or proof.record is None:
            raise ValueError(f"{name} is a proof for another head, or holds no record")
        try:
            _check_proof(proof, proof.record, open_checkpoint(proof.checkpoint, keys)[0])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if proofs:
        report.proved.append(f"{len(proofs)} records have a proof of their own, and each verifies.")


def _read(files: _Files, name: str) -> bytes:
    with files.open(name) as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ValueError(f"{name} is larger than {_LARGEST_FILE} bytes")
    return content


def _text(files: _Files, name: str) -> str:
    try:
        return _read(files, name).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None


def _sha256(files: _Files, name: str) -> str:
    digest = hashlib.sha256()
    with files.open(name) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
