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
    """Return what a signed checkpoint says and which of the keys signed it; raise `ValueError` if none did.

    Only a key of the log's own name speaks for it: one key pair may sign for several logs.
    """
    parsed = Note.parse(note)
    checkpoint = Checkpoint.parse(parsed.text)
    return checkpoint, parsed.verified(_of_log(checkpoint.origin, keys))


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key of a log, and the note by which the key before it endorses it; the first has none."""

    key: VerifierKey
    endorsement: str | None = None


def endorsement_text(log: str, key: VerifierKey) -> str:
    """Return what a key signs of the one that takes over."""
    return f"{KEY_FORMAT}\n{log}\n{key}\n"


def trusted_keys(log: str, given: Iterable[VerifierKey], named: Sequence[LogKey]) -> list[VerifierKey]:
    """Return the keys of the log to trust: those given, and those after one of them that each endorses, in turn.

    `named` are the log's keys as its keeper names them, the oldest first; the key before endorses each, or nobody does.
    Raises `ValueError` for an endorsement that is not so, needed or not, and if no key given is the log's.
    """
    trusted, before = _of_log(log, given), None
    for one in named:
        _check_endorsed(log, one, before)
        if before in trusted and one.endorsement is not None and one.key not in trusted:
            trusted.append(one.key)
        before = one.key
    return trusted


def _of_log(log: str, keys: Iterable[VerifierKey]) -> list[VerifierKey]:
    own = [key for key in keys if key.name == log]
    if not own:
        raise ValueError(f"this is of the log {log!r}, and no key of that name is trusted")
    return own


def _check_endorsed(log: str, one: LogKey, before: VerifierKey | None) -> None:
    if one.key.name != log:
        raise ValueError(f"a key of {one.key.name!r} is named among those of {log!r}")
    if one.endorsement is None:
        return
    if before is None:
        raise ValueError(f"the key before {one.key.key_id.hex()}, which endorses it, is not named")
    note = Note.parse(one.endorsement)
    note.verified([before])
    if note.text != endorsement_text(log, one.key):
        raise ValueError(f"the endorsement of the key {one.key.key_id.hex()} is for another key or log")
