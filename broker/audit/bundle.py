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
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker.audit.checkpoint import Checkpoint, open_checkpoint, trusted_keys
from broker.audit.files import Files, digest, opened, read, text
from broker.audit.note import Note, VerifierKey
from broker.audit.proof import RecordProof, extends, read_hash_lines
from broker.audit.statement import Statement
from broker.audit.verify import OWN_FILTER, Report, read_lines, verify
from broker.audit.verify_proof import check_proof

MANIFEST_FORMAT = "access.envisionai.dev/bundle/v1"
RECORDS, CHECKPOINT, KEYS = "records.jsonl", "checkpoint", "log.vkey"
PREVIOUS, CONSISTENCY, HOW_TO = "previous-checkpoint", "consistency", "HOW-TO-CHECK.md"
MANIFEST, MANIFEST_NOTE, PROOFS = "manifest.json", "manifest.note", "proofs/"
_ALWAYS = {RECORDS, CHECKPOINT, KEYS, HOW_TO}
_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?"
)  # none that climbs, wherever it is unpacked


def manifest_text(log: str, size: int, sha256: str) -> str:
    """Return what is signed of a manifest."""
    return f"{MANIFEST_FORMAT}\n{log}\n{size}\n{sha256}\n"


def proof_name(index: int) -> str:
    """Return the name of the file that proves a record."""
    return f"{PROOFS}{index}.tlog-proof"


def verify_bundle(path: Path, trusted: Sequence[VerifierKey] = (), held: Sequence[Checkpoint] = ()) -> Report:
    """Check a bundle: its files, its records, the head, that it grew out of the one before, and each proof by itself.

    Raises `ValueError` for what is no bundle, and `OSError`.
    """
    with opened(path) as files:
        if MANIFEST not in files.names():
            raise ValueError(f"there is no {MANIFEST} in it, so it is no bundle")
        with contextlib.closing(read_lines(files.open(RECORDS))) as lines:
            stated = Statement.parse(next(lines, b""))
            report = verify(lines, stated, trusted, held)
        if not report.holds:
            return report
        try:
            keys = trusted_keys(stated.log, trusted or [one.key for one in stated.keys], stated.keys)
            _Bundle(files, stated, keys, report).check(held)
        except ValueError as error:
            return report.fail(None, str(error))
        return report


class _Bundle:
    """A bundle whose records hold, under the head that they state."""

    def __init__(self, files: Files, stated: Statement, keys: Sequence[VerifierKey], report: Report) -> None:
        self._files = files
        self._names = files.names()
        self._stated = stated
        self._keys = keys
        self._report = report

    def check(self, held: Sequence[Checkpoint]) -> None:
        """Check the rest of it; raise `ValueError` for the first thing that is wrong."""
        manifest = self._signed_manifest()
        self._check_said(manifest)
        self._check_files(manifest["files"])
        self._check_same()
        self._check_previous(held)
        self._check_proofs()

    def _signed_manifest(self) -> dict[str, Any]:
        if MANIFEST_NOTE not in self._names:
            raise ValueError(f"{MANIFEST_NOTE} is missing: nobody has signed the manifest")
        content = read(self._files, MANIFEST)
        note = Note.parse(text(self._files, MANIFEST_NOTE))
        note.verified(self._keys)
        if note.text != manifest_text(self._stated.log, self._stated.size, hashlib.sha256(content).hexdigest()):
            raise ValueError(f"{MANIFEST_NOTE} is the signature of another manifest")
        return _parsed(content)

    def _check_said(self, manifest: dict[str, Any]) -> None:
        """Check that the manifest says of the records what they are."""
        stated, report = self._stated, self._report
        said = {name: manifest.get(name) for name in ("log", "size", "root", "filter", "records", "gaps")}
        counted = {"records": report.records, "gaps": report.gaps}
        if said != {"log": stated.log, "size": stated.size, "root": stated.root, "filter": stated.filter, **counted}:
            raise ValueError(f"{MANIFEST} is of other records than {RECORDS}")
        if (manifest.get("previous_manifest_sha256") is None) != (PREVIOUS not in self._names):
            raise ValueError(f"{MANIFEST} names a bundle before, or {PREVIOUS} is one, and not both")

    def _check_files(self, listed: dict[str, Any]) -> None:
        if missing := sorted((_ALWAYS | set(listed)) - self._names) + sorted(_ALWAYS - set(listed)):
            raise ValueError(f"{missing[0]} is missing from the bundle, or from its manifest")
        if extra := sorted(self._names - set(listed) - {MANIFEST, MANIFEST_NOTE}):
            raise ValueError(f"{extra[0]} is in the bundle and not in its manifest")
        for name, said in sorted(listed.items()):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name for a file of a bundle")
            if digest(self._files, name) != said:
                raise ValueError(f"{name} is not the file that the manifest names")
        self._report.proved.append(f"The {len(listed)} files are those of the signed manifest.")
        if OWN_FILTER in self._report.open:
            self._report.open.remove(OWN_FILTER)
            self._report.proved.append("The filter is the one that the signed manifest names.")

    def _check_same(self) -> None:
        """Check that what the bundle says twice is the same."""
        if text(self._files, CHECKPOINT) != self._stated.checkpoint:
            raise ValueError(f"{CHECKPOINT} is not the signed head of {RECORDS}")
        if text(self._files, KEYS) != "".join(f"{one.key}\n" for one in self._stated.keys):
            raise ValueError(f"{KEYS} does not hold the keys of {RECORDS}")

    def _check_previous(self, held: Sequence[Checkpoint]) -> None:
        stated, report = self._stated, self._report
        if PREVIOUS not in self._names:
            report.open.append("That the log grew out of an earlier bundle: this one names none.")
            return
        # A key that is older than those that are trusted signed it, perhaps; the manifest's signature covers it as well
        named = [one.key for one in stated.keys]
        before, signers = open_checkpoint(text(self._files, PREVIOUS), [*named, *self._keys])
        path = read_hash_lines(text(self._files, CONSISTENCY))
        root = bytes.fromhex(stated.root)
        if before.origin != stated.log or not extends(before.size, stated.size, path, before.root, root):
            raise ValueError(f"the head does not grow out of the one of {before.size} records in {PREVIOUS}")
        if any(one.size == before.size and one.root != before.root for one in held):
            raise ValueError(f"the head of {before.size} records that you hold is not the one in {PREVIOUS}")
        report.proved.append(f"The log grew out of the head of {before.size} records of the bundle before, unchanged.")
        if not set(signers) & set(self._keys):
            older = ", ".join(key.key_id.hex() for key in signers)
            report.open.append(
                f"Whose key {older} is, which signed the head of the bundle before: you did not give it."
            )

    def _check_proofs(self) -> None:
        proofs = sorted(name for name in self._names if name.startswith(PROOFS))
        checkpoint = Checkpoint(self._stated.log, self._stated.size, bytes.fromhex(self._stated.root))
        for name in proofs:
            try:
                proof = RecordProof.parse(text(self._files, name))
                if proof.checkpoint != self._stated.checkpoint or proof.record is None:
                    raise ValueError("it is a proof for another head, or holds no record")
                if name != proof_name(proof.index):
                    raise ValueError(f"it is a proof of record {proof.index}")
                check_proof(proof, proof.record, checkpoint)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if proofs:
            self._report.proved.append(f"{len(proofs)} records have a proof of their own, and each verifies.")


def _parsed(manifest: bytes) -> dict[str, Any]:
    """Read a manifest, of which there is one way of writing: no name stands in it twice."""
    try:
        said: Any = json.loads(manifest)
        written = json.dumps(said, indent=2) + "\n"
        files = said["files"]
        kinds = all(set(one) == {"sha256", "bytes"} for one in files.values())
        if said["format"] == MANIFEST_FORMAT and kinds and written.encode() == manifest:
            return {**said, "files": {name: (one["sha256"], one["bytes"]) for name, one in files.items()}}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError(f"{MANIFEST} is not the manifest of a bundle ({MANIFEST_FORMAT})")
