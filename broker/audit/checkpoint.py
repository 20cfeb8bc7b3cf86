"""Checkpoints (C2SP tlog-checkpoint v1.0.0): what a signed head of the log says, and who may sign one.

The text of a checkpoint is the log's name, its size in decimal, and its root hash in base64, a line each; it is signed
as a note. A key that takes over from another is endorsed by it:

    access.envisionai.dev/key/v1
    access.example.com/log/production
    access.example.com/log/production+1f2e3d4c+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k

    — access.example.com/log/production Uw2QOkn8srV1yJGh2VYRlL1Tnagv…
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from broker.audit.note import Note, VerifierKey

_HASH_BYTES = 32
_LARGEST = 2**63
_FEWEST_LINES = 3
KEY_FORMAT = "access.envisionai.dev/key/v1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log at one size."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return what is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a checkpoint; raise `ValueError` if it is none. Extension lines are allowed, and ignored."""
        lines = text.split("\n")
        if len(lines) <= _FEWEST_LINES or lines[-1]:
            raise ValueError("a checkpoint has a line each for the log's name, its size and its root hash")
        origin, size, root, *extensions = lines[:-1]
        decimal = size.isascii() and size.isdecimal() and (size == "0" or not size.startswith("0"))
        if not origin or not decimal or len(size) > len(str(_LARGEST)) or int(size) >= _LARGEST or not all(extensions):
            raise ValueError("a checkpoint has a line each for the log's name, its size and its root hash")
        try:
            decoded = base64.b64decode(root, validate=True)
        except (binascii.Error, ValueError):
            decoded = b""
        if len(decoded) != _HASH_BYTES or base64.b64encode(decoded).decode() != root:
            raise ValueError("a checkpoint's root hash is 32 bytes in base64")
        return cls(origin, int(size), decoded)


def open_checkpoint(note: str, keys: Iterable[VerifierKey]) -> tuple[Checkpoint, list[VerifierKey]]:
    """Return what a signed checkpoint says and which of the keys signed it; raise `ValueError` if none did."""
    parsed = Note.parse(note)
    signers = parsed.verified(keys)
    return Checkpoint.parse(parsed.text), signers


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key of a log, and the note by which the key before it endorses it; the first has none."""

    key: VerifierKey
    endorsement: str | None = None


def endorsement_text(log: str, key: VerifierKey) -> str:
    """Return what a key signs of the one that takes over."""
    return f"{KEY_FORMAT}\n{log}\n{key}\n"


def trusted_keys(log: str, given: Iterable[VerifierKey], named: Sequence[LogKey]) -> list[VerifierKey]:
    """Return the keys to trust: those given, and those that a trusted one endorses, in turn.

    `named` are the log's keys as its keeper names them, the oldest first. Raises `ValueError` for an endorsement that a
    trusted key has signed wrongly, or for another log or key.
    """
    trusted = list(given)
    for one in named:
        if one.endorsement is None or one.key in trusted:
            continue
        note = Note.parse(one.endorsement)
        if not {(key.name, key.key_id) for key in trusted} & {(by.name, by.key_id) for by in note.signatures}:
            continue
        note.verified(trusted)
        if note.text != endorsement_text(log, one.key):
            raise ValueError(f"the endorsement of the key {one.key.key_id.hex()} is for another key or log")
        trusted.append(one.key)
    return trusted
