"""Bundles: an export with everything that a stranger needs to check it, in one zip file."""

import contextlib
import hashlib
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template
from typing import IO, Any, BinaryIO

from broker.audit import Gap, RecordProof, Statement
from broker.audit.bundle import (
    CHECKPOINT,
    CONSISTENCY,
    HOW_TO,
    KEYS,
    MANIFEST,
    MANIFEST_FORMAT,
    MANIFEST_NOTE,
    PREVIOUS,
    RECORDS,
    proof_name,
)
from broker.audit.proof import read_hash_lines
from broker.cli.daemon import Daemon

_MOST_PROOFS = 1000
"""A selection of so many records has a proof of each; of more, the gaps in the export prove them together."""
_AT_ONCE = 100


def write_bundle(daemon: Daemon, stated: Statement, lines: Iterator[bytes], out: BinaryIO) -> None:
    """Write a bundle around an export, in constant memory, and have its manifest signed and recorded."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        bundle = _Bundle(archive)
        few = _write_records(bundle, stated, lines)
        bundle.add(CHECKPOINT, stated.checkpoint)
        bundle.add(KEYS, "".join(f"{one.key}\n" for one in stated.keys))
        before = daemon.get("/v1/trail/bundles/previous", size=stated.size)
        if before is not None:
            bundle.add(PREVIOUS, before["checkpoint"])
            bundle.add(CONSISTENCY, before["consistency"])
        _write_proofs(daemon, bundle, stated, few)
        bundle.add(HOW_TO, _how_to(stated))
        manifest = bundle.manifest(stated, before["manifest_sha256"] if before else None)
        signed = {"checkpoint": stated.checkpoint, "manifest_sha256": hashlib.sha256(manifest).hexdigest()}
        bundle.add(MANIFEST_NOTE, daemon.post("/v1/trail/bundles", signed)["note"])


@dataclass(slots=True)
class _Bundle:
    """An archive that grows, and the digest of each file in it."""

    archive: zipfile.ZipFile
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"records": 0, "gaps": 0})

    def add(self, name: str, text: str) -> None:
        with self.writing(name) as file:
            file.write(text.encode())

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator["_Digested"]:
        """Yield a file of the archive; its digest is noted."""
        about = zipfile.ZipInfo(name, time.gmtime()[:6])
        about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
        with self.archive.open(about, "w", force_zip64=True) as file:
            digested = _Digested(file)
            yield digested
        self.files[name] = {"sha256": digested.digest.hexdigest(), "bytes": digested.length}

    def manifest(self, stated: Statement, before: str | None) -> bytes:
        """Write the manifest, and return it."""
        said = {
            "format": MANIFEST_FORMAT,
            "log": stated.log,
            "size": stated.size,
            "root": stated.root,
            "filter": dict(stated.filter),
            **self.counts,
            "files": dict(self.files),
            "previous_manifest_sha256": before,
        }
        text = json.dumps(said, indent=2) + "\n"
        self.add(MANIFEST, text)
        return text.encode()


class _Digested:
    """Writes, and digests what is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.length = 0

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self.digest.update(piece)
        self.length += len(piece)


def _write_records(bundle: _Bundle, stated: Statement, lines: Iterator[bytes]) -> list[tuple[int, bytes]]:
    """Write the export; return its records by number if they are few, and a selection."""
    few: list[tuple[int, bytes]] = []
    with bundle.writing(RECORDS) as file:
        file.write(stated.line() + b"\n")
        reached = 0
        for line in lines:
            file.write(line + b"\n")
            gap = Gap.parse(line)
            bundle.counts["records" if gap is None else "gaps"] += 1
            if gap is None and stated.filter and len(few) <= _MOST_PROOFS:
                few.append((reached, line))
            reached = reached + 1 if gap is None else gap.stop
    return few if len(few) <= _MOST_PROOFS else []


def _write_proofs(daemon: Daemon, bundle: _Bundle, stated: Statement, few: list[tuple[int, bytes]]) -> None:
    for start in range(0, len(few), _AT_ONCE):
        batch = few[start : start + _AT_ONCE]
        seqs = ",".join(str(seq) for seq, _ in batch)
        paths = daemon.get("/v1/trail/paths", size=stated.size, seq=seqs)
        for (seq, body), path in zip(batch, paths, strict=True):
            proof = RecordProof(seq, tuple(read_hash_lines(path)), stated.checkpoint, body)
            bundle.add(proof_name(seq), proof.text())


def _how_to(stated: Statement) -> str:
    template = Template((files("broker") / "audit" / "how_to_check.md").read_text())
    return template.substitute(
        log=stated.log, size=stated.size, root=stated.root, key=stated.keys[-1].key if stated.keys else "none"
    )
