"""Signed notes (C2SP signed-note v1.0.0): a text, and signatures of it by named Ed25519 keys.

A note is the text, an empty line, and lines like this one, of the key's name, its id and the signature:

    — access.example.com/log/production Uw2QOkn8srV1yJGh2VYRlL1Tnagv…
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_ED25519 = b"\x01"
_KEY_BYTES = 32
_ID_BYTES = 4
_MOST_SIGNATURES = 100
_DASH = "— "  # U+2014
Sign = Callable[[bytes], bytes]
"""Makes the Ed25519 signature of a message."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and its name, written as `<name>+<key id>+<base64 of 0x01 and the key>`."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """What a signature names the key by: SHA-256(name || 0x0A || 0x01 || key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_ID_BYTES]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a vkey; raise `ValueError` if it is none."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if not _is_name(name) or raw is None or len(raw) != 1 + _KEY_BYTES or not raw.startswith(_ED25519):
            raise ValueError("this is not the verifier key of an Ed25519 signature: name+key id+key in base64")
        key = cls(name, raw[1:])
        if key_id != key.key_id.hex():
            raise ValueError(f"the verifier key of {name} does not have the key id {key_id} that it names")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Tell whether the key made the signature (RFC 8032)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: the key's name and id, and what it signed with."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends in a newline, and its signatures, not verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: str) -> Self:
        """Read a note; raise `ValueError` if it is malformed."""
        if any(character < " " and character != "\n" for character in note):
            raise ValueError("a signed note holds no control characters")
        text, separator, lines = note.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise ValueError("this is not a signed note: a text, an empty line, and signatures")
        signed = lines.removesuffix("\n").split("\n")
        if len(signed) > _MOST_SIGNATURES:
            raise ValueError(f"a signed note of more than {_MOST_SIGNATURES} signatures is not read")
        return cls(text + "\n", tuple(_signature(line) for line in signed))

    def verified(self, keys: Iterable[VerifierKey]) -> list[VerifierKey]:
        """Return the keys that signed it, at least one; raise `ValueError` if none did, or one's signature is wrong."""
        known = {(key.name, key.key_id): key for key in keys}
        found: list[VerifierKey] = []
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is None or key in found:
                continue
            if not key.verifies(self.text.encode(), signature.signature):
                raise ValueError(f"the signature by {key.name} ({key.key_id.hex()}) is not the key's")
            found.append(key)
        if not found:
            signers = ", ".join(f"{one.name} ({one.key_id.hex()})" for one in self.signatures)
            raise ValueError(f"none of the keys that are trusted has signed it; it is signed by {signers}")
        return found


def sign(text: str, key: VerifierKey, signing: Sign) -> str:
    """Return the text as a note signed by one key; raise `ValueError` if the signature does not verify."""
    if not text.endswith("\n"):
        raise ValueError("the text of a signed note ends in a newline")
    signature = signing(text.encode())
    if not key.verifies(text.encode(), signature):
        raise ValueError(f"the signing key is not the one of {key.name} ({key.key_id.hex()})")
    return f"{text}\n{_DASH}{key.name} {base64.b64encode(key.key_id + signature).decode()}\n"


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    raw = _decoded(encoded)
    if not line.startswith(_DASH) or not _is_name(name) or raw is None or len(raw) <= _ID_BYTES:
        raise ValueError("a line among the note's signatures is none")
    return Signature(name, raw[:_ID_BYTES], raw[_ID_BYTES:])


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(character.isspace() for character in name)


def _decoded(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
