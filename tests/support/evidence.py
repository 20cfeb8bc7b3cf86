"""Logs with evidence about them, made without a broker: any size, any keys, anything pruned or left out."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.audit import Checkpoint, Gap, Head, LogKey, RecordProof, Statement, VerifierKey, leaf_hash, seal
from broker.audit.bundle import manifest_text
from broker.audit.checkpoint import endorsement_text
from broker.audit.note import sign
from broker.audit.proof import consistency_path, hash_lines, inclusion_path
from broker.audit.tree import cover, fold, node_hash
from broker.cli.daemon import Daemon
from broker.cli.trail.bundle import write_bundle

LOG = "access.example.com/log/test"


@dataclass
class Log:
    """A log that grows, and its keys, which are the same each time."""

    name: str = LOG
    bodies: list[bytes] = field(default_factory=list)
    pruned: set[int] = field(default_factory=set)
    keys: list[LogKey] = field(default_factory=list)
    head: Head = field(default_factory=Head)

    def __post_init__(self) -> None:
        """Make the first key."""
        if not self.keys:
            self.keys.append(LogKey(self._public(0)))

    def add(self, kind: str = "tested", **facts: Any) -> int:
        """Append a record; return its number."""
        sealed, self.head = seal(self.name, self.head, {"kind": kind, **facts})
        self.bodies.append(sealed.body)
        return sealed.seq

    def grown(self, size: int) -> "Log":
        """Append records up to a size, and return the log itself."""
        while len(self.bodies) < size:
            self.add(note=f"number {len(self.bodies)}")
        return self

    def prune(self, start: int, stop: int) -> None:
        """Take the bodies away, and say so."""
        self.pruned |= set(range(start, stop))
        self.add("trail_pruned", ranges=[[start, stop]])

    def rotate(self) -> VerifierKey:
        """Take another key, endorsed by the one before."""
        key = self._public(len(self.keys))
        self.keys.append(LogKey(key, self.sign(endorsement_text(self.name, key))))
        return key

    @property
    def key(self) -> VerifierKey:
        """The key that signs."""
        return self.keys[-1].key

    def sign(self, text: str, number: int = -1) -> str:
        """Sign with one of the keys."""
        key = self.keys[number].key
        return sign(text, key, self._private(self.keys.index(self.keys[number])).sign)

    def root(self, size: int) -> bytes:
        """Return the root at a size."""
        return fold([self.node(level, index) for level, index in cover(0, size)])

    def checkpoint(self, size: int | None = None, number: int = -1) -> str:
        """Return the signed head at a size."""
        size = len(self.bodies) if size is None else size
        return self.sign(Checkpoint(self.name, size, self.root(size)).text(), number)

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of one complete subtree."""
        if level == 0:
            return leaf_hash(self.bodies[index])
        return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))

    def subtree(self, start: int, stop: int) -> bytes:
        """Return MTH(D[start:stop])."""
        return fold([self.node(level, index) for level, index in cover(start, stop)])

    def gap(self, start: int, stop: int, why: Any = "filtered") -> bytes:
        """Return the line of a gap."""
        return Gap(start, stop, why, tuple(self.node(*place) for place in cover(start, stop))).line()

    def proof(self, index: int, size: int | None = None) -> RecordProof:
        """Prove one record."""
        size = len(self.bodies) if size is None else size
        path = tuple(inclusion_path(index, size, self.subtree))
        return RecordProof(index, path, self.checkpoint(size), self.bodies[index])

    def statement(self, **wanted: str) -> Statement:
        """Return the statement of its head, signed."""
        return Statement.of(self.name, self.head, self.checkpoint(), self.keys, **wanted)

    def lines(self, wanted: set[int] | None = None) -> list[bytes]:
        """Return the lines of an export after the statement, of some records or of all."""
        size, lines, start = len(self.bodies), list[bytes](), 0
        for seq in range(size + 1):
            why = self._missing(seq, wanted) if seq < size else None
            before = self._missing(start, wanted) if start < seq else None
            if before is not None and (why != before or seq == size - 1):  # the last one by itself
                lines.append(self.gap(start, seq, before))
                start = seq
            if seq < size and why is None:
                lines.append(self.bodies[seq])
                start = seq + 1
        return lines

    def export(self, wanted: set[int] | None = None, **filter_: str) -> bytes:
        """Return an export, as `aam trail export` writes it."""
        return written(self.statement(**filter_), self.lines(wanted))

    def bundle(
        self, file: Path, wanted: set[int] | None = None, *, previous: tuple[str, str] | None = None, **filter_: str
    ) -> Path:
        """Write a bundle with the program that operators use; `previous` are a signed head and a manifest's digest."""
        daemon = cast("Daemon", Broker(self, previous))
        with file.open("wb") as out:
            write_bundle(daemon, self.statement(**filter_), iter(self.lines(wanted)), out)
        return file

    def _missing(self, seq: int, wanted: set[int] | None) -> str | None:
        if wanted is not None and seq not in wanted:
            return "filtered"
        return "pruned" if seq in self.pruned else None

    def _private(self, number: int) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"a test's key {number}".encode()).digest())

    def _public(self, number: int) -> VerifierKey:
        return VerifierKey(self.name, self._private(number).public_key().public_bytes_raw())


@dataclass
class Broker:
    """Answers what a bundle asks of a broker."""

    log: Log
    previous: tuple[str, str] | None

    def get(self, path: str, **query: Any) -> Any:
        """Answer with the bundle before, or with inclusion paths."""
        if path == "/v1/trail/paths":
            seqs = [int(seq) for seq in query["seq"].split(",")]
            return [hash_lines(inclusion_path(seq, query["size"], self.log.subtree)) for seq in seqs]
        if self.previous is None:
            return None
        checkpoint, manifest = self.previous
        old = int(checkpoint.split("\n")[1])
        path_ = hash_lines(consistency_path(old, query["size"], self.log.subtree))
        return {"checkpoint": checkpoint, "manifest_sha256": manifest, "consistency": path_}

    def post(self, _path: str, signed: Any) -> Any:
        """Sign the manifest."""
        size = int(signed["checkpoint"].split("\n")[1])
        return {"note": self.log.sign(manifest_text(self.log.name, size, signed["manifest_sha256"]))}


def written(stated: Statement, lines: Sequence[bytes]) -> bytes:
    """Return an export of lines."""
    return b"".join(line + b"\n" for line in (stated.line(), *lines))


def unpacked(bundle: Path, place: Path) -> Path:
    """Unpack a bundle into a directory, and return that."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(place)
    return place


def packed(files: dict[str, bytes], file: Path) -> Path:
    """Pack files into a zip, and return that."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file


def contents(bundle: Path) -> dict[str, bytes]:
    """Return the files of a zip, or of a directory."""
    if bundle.is_dir():
        return {one.relative_to(bundle).as_posix(): one.read_bytes() for one in bundle.rglob("*") if one.is_file()}
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def re_signed(log: Log, files: dict[str, bytes], /, **said: Any) -> dict[str, bytes]:
    """Return the files of a bundle with a manifest that fits them, signed again: what an insider could do."""
    manifest = json.loads(files["manifest.json"])
    listed = {name: content for name, content in files.items() if not name.startswith("manifest.")}
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in listed.items()
    }
    content = (json.dumps(manifest | said, indent=2) + "\n").encode()
    note = log.sign(manifest_text(log.name, manifest["size"], hashlib.sha256(content).hexdigest()))
    return {**listed, "manifest.json": content, "manifest.note": note.encode()}


def flipped(content: bytes, position: int, bits: int = 1) -> bytes:
    """Change one byte."""
    return content[:position] + bytes([content[position] ^ bits]) + content[position + 1 :]


def with_other(stated: Statement, **members: Any) -> Statement:
    """Change members of a statement."""
    return replace(stated, **members)


def every_subset(size: int) -> Iterator[set[int]]:
    """Yield every selection of a few records."""
    for bits in range(1 << size):
        yield {seq for seq in range(size) if bits >> seq & 1}
